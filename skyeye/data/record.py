"""The one internal form of a training or evaluation sample; every reader of a published format yields it."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.tasks import FREE, check_task
from skyeye.errors import SkyEyeError

#: Stands in a text where boxes are written: U+FFFC, the object replacement character, once for each :class:`Mention`.
MARK = "\ufffc"


@dataclass(frozen=True)
class Mention:
    """Boxes that a text names, as numbers; the prompt style of a model writes them.

    Attributes:
        boxes: in fractions of the image, at full precision. Empty for a phrase that is marked and has no place.
        phrase: the words that the boxes belong to, written before them; None: the boxes stand alone.
    """

    boxes: tuple[Box | OrientedBox, ...]
    phrase: str | None = None


@dataclass(frozen=True, init=False)  # an __init__ of its own: half a million are made, and the usual one is slow
class Turn:
    """One question and its answer, in no model's dialect: without task tag, image marker and written boxes.

    Attributes:
        task: what the question asks, a key of :data:`skyeye.data.tasks.TASKS`.
        mentions: one for each :data:`MARK`, those of the question first.
        system: of the first turn of a conversation, what the system says before it; None: nothing of its own.
    """

    question: str
    answer: str
    task: str = FREE
    mentions: tuple[Mention, ...] = ()
    system: str | None = None

    def __init__(
        self,
        question: str,
        answer: str,
        task: str = FREE,
        mentions: tuple[Mention, ...] = (),
        system: str | None = None,
    ):
        self.__dict__.update(question=question, answer=answer, task=task, mentions=mentions, system=system)

    @property
    def question_mentions(self) -> tuple[Mention, ...]:
        """Mentions of the question."""
        return self.mentions[: self.question.count(MARK)]

    @property
    def answer_mentions(self) -> tuple[Mention, ...]:
        """Mentions of the answer."""
        return self.mentions[self.question.count(MARK) :]

    def asked(self, question: str, mentions: tuple[Mention, ...] = (), task: str | None = None) -> Turn:
        """The turn with another question, and the same answer."""
        return Turn(question, self.answer, task or self.task, mentions + self.answer_mentions, self.system)

    def is_whole(self) -> bool:
        """Whether every mark has its mention."""
        return self.question.count(MARK) + self.answer.count(MARK) == len(self.mentions)


@dataclass(frozen=True)
class Region:
    """A place in the image and the words for it.

    Attributes:
        box: (x1, y1, x2, y2) in fractions of width and height, 0..1.
        polygon: where the annotation is an oriented box, its four corners (x1, y1, ..., x4, y4) in fractions, as
            annotated: they may leave 0..1. ``box`` is then the upright box around them, clipped to the image.
    """

    box: tuple[float, float, float, float]
    phrase: str
    polygon: tuple[float, ...] | None = None


@dataclass(frozen=True, init=False)
class Record:
    """One sample: zero or more images, one or more turns, and what an evaluation needs to score the answer.

    Attributes:
        id: unique within its source.
        source: name of the data set (``"RSICD"``).
        task: a key of :data:`skyeye.data.tasks.TASKS`; of a conversation, each turn has its own.
        split: ``"train"``, ``"val"`` or ``"test"``.
        images: image files in the order they are shown; empty for a text-only sample.
        turns: the dialogue; a single-task sample has one turn.
        references: truths for scoring, by task: ``captions`` (list of str); ``answer`` (str) and ``type`` (str);
            ``boxes`` (list of 4 fractions) and ``phrase``; ``polygons`` (list of 8 fractions, one for each of
            ``boxes``) where some were annotated as oriented boxes; ``size`` (width and height in pixels) where the
            annotation says it; ``classes`` (list of str); ``published_id`` (str), the id in the published
            annotation, where predictions made elsewhere are joined by it.
        regions: known objects of the image, for the optional word-region alignment of a pre-training stage.
        where: file and index the record was read from, for messages.
    """

    id: str
    source: str
    task: str
    split: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    references: dict[str, Any] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    where: str = ""

    def __init__(
        self,
        id: str,
        source: str,
        task: str,
        split: str,
        images: tuple[str, ...],
        turns: tuple[Turn, ...],
        references: dict[str, Any] | None = None,
        regions: tuple[Region, ...] = (),
        where: str = "",
    ):
        self.__dict__.update(
            id=id, source=source, task=task, split=split, images=images, turns=turns,
            references={} if references is None else references, regions=regions, where=where,
        )  # fmt: skip

    @property
    def opening(self) -> tuple[tuple[str, ...], str | None]:
        """Images, and what the system says: what the sequences of records must share to share their prefix."""
        return self.images, self.turns[0].system if self.turns else None

    def of(self, source: str) -> Record:
        """The record under another name of its data set."""
        record = object.__new__(Record)
        record.__dict__.update(self.__dict__, source=source)
        return record


@dataclass(frozen=True)
class Group:
    """The unit of training data: an image (or a sequence of frames) with everything that is asked about it."""

    images: tuple[str, ...]
    records: tuple[Record, ...]


def group_by_image(records: Iterable[Record]) -> list[Group]:
    """Collect records that show the same images, in order of first appearance. Text-only records stay alone."""
    by_images: dict[object, list[Record]] = defaultdict(list)
    for index, record in enumerate(records):
        by_images[record.images or index].append(record)
    return [Group(images=members[0].images, records=tuple(members)) for members in by_images.values()]


def choose(records: Iterable[Record], count: int, seed: int, task: str | None = None) -> list[Record]:
    """So many records by a checksum of seed, source and id: the same ones in whatever order they are read.

    Tasks take turns, so that a rare one is shown beside a frequent one. Records go by one at a time.

    Raises:
        SkyEyeError: the task is unknown, or no record has it.
    """
    if task is not None:
        check_task(task, "--task")
    heaps: dict[str, list[tuple[int, int, Record]]] = {}
    seen: set[str] = set()
    for number, record in enumerate(records):
        seen.add(record.task)
        if task in (None, record.task):
            key = f"{seed}\x1f{record.source}\x1f{record.id}".encode("utf-8", "surrogatepass")
            rank = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
            heap = heaps.setdefault(record.task, [])
            (heapq.heappush if len(heap) < count else heapq.heappushpop)(heap, (-rank, -number, record))
    if not heaps:
        raise SkyEyeError(f"no record of task {task!r}", where="--task", remedy=f"there are: {', '.join(sorted(seen))}")
    queues = [sorted(heap, reverse=True) for _, heap in sorted(heaps.items())]
    chosen = [queue[turn][2] for turn in range(count) for queue in queues if turn < len(queue)]
    return chosen[:count]
