"""Counting: the records of a target go by once, and only counts of them are kept."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from skyeye.curate.check.images import look_at_all
from skyeye.curate.target import Target, records_of
from skyeye.data.geometry.boxes import OrientedBox
from skyeye.data.record import Record

TOP_ANSWERS = 30  # kept of each task
MOST_ANSWERS = 50_000  # distinct answers counted of a task; with more, the answers are free text
SHORT_ANSWERS = frozenset({"vqa", "classification", "identify"})  # tasks whose answers are counted


class Lengths(NamedTuple):
    """Tokens of one record: of the prefix that its image's questions share, of its branch, and how many are learnt."""

    prefix: int
    branch: int
    learnt: int


def measure(
    target: Target,
    count_tokens: Callable[[Record], Lengths | None],
    tokenizer: str,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Count everything in a target.

    Args:
        count_tokens: lengths of a record; None where no sequence can be made of it.
        tokenizer: what ``count_tokens`` counts with, in words.
        workers: threads that look at the images' sizes.
        progress: called with (images looked at, images).

    Returns:
        JSON values; docs/data_check.md explains the keys. Lengths are in tokens, sides of boxes in hundredths of the
        image, sides of images in pixels.

    Raises:
        SkyEyeError: a source cannot be read, or there is no record.
    """
    counts = _Counts()
    for record in records_of(target):
        counts.add(record, count_tokens(record))
    images = {image for images in counts.shown for image in images}
    sizes = _image_sizes(images, workers, progress)
    return {"target": str(target.path), "tokenizer": tokenizer, **counts.as_json(), "image_sizes": sizes}


@dataclass
class _Counts:
    """What is counted while the records go by."""

    sources: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    splits: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    tokens: dict[str, dict[str, Counter[int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Counter))
    )
    boxes: dict[str, Counter[int]] = field(
        default_factory=lambda: {"longer side": Counter(), "shorter side": Counter(), "a record": Counter()}
    )
    answers: dict[str, Counter[str] | None] = field(default_factory=dict)
    shown: Counter[tuple[str, ...]] = field(default_factory=Counter)
    prefixes: dict[tuple[str, ...], int] = field(default_factory=dict)
    unmeasured: int = 0
    apart: int = 0  # tokens where each record has a row of its own
    branches: int = 0

    def add(self, record: Record, lengths: Lengths | None) -> None:
        self.sources[record.source][record.task] += 1
        self.splits[record.split] += 1
        self.turns[len(record.turns)] += 1
        if record.images:
            self.shown[record.images] += 1
        if lengths is None:
            self.unmeasured += 1
        else:
            self._add_tokens(record, lengths)
        _count_boxes(record, self.boxes)
        _count_answer(record, self.answers)

    def _add_tokens(self, record: Record, lengths: Lengths) -> None:
        self.tokens[record.task]["question"][lengths.branch - lengths.learnt] += 1
        self.tokens[record.task]["learnt"][lengths.learnt] += 1
        self.apart += lengths.prefix + lengths.branch
        self.branches += lengths.branch
        # a text without an image has no prefix to share
        self.prefixes[record.images or (f"\0{len(self.prefixes)}",)] = lengths.prefix

    def as_json(self) -> dict[str, Any]:
        tasks: Counter[str] = sum(self.sources.values(), Counter())
        return {
            "records": sum(tasks.values()),
            "images": len({image for images in self.shown for image in images}),
            "sources": {name: dict(of.most_common()) for name, of in self.sources.items()},
            "splits": dict(self.splits.most_common()),
            "tasks": dict(tasks.most_common()),
            "turns": _histogram(self.turns),
            "samples_per_image": _histogram(Counter(self.shown.values())),
            "tokens": {
                task: {part: _histogram(of) for part, of in parts.items()} for task, parts in self.tokens.items()
            },
            "tokens_total": {
                "separate_rows": self.apart,
                "shared_prefix": self.branches + sum(self.prefixes.values()),
                "records_without_sequence": self.unmeasured,
            },
            "boxes": {what: _histogram(of) for what, of in self.boxes.items()},
            "answers": {
                task: None if of is None else {"distinct": len(of), "top": dict(of.most_common(TOP_ANSWERS))}
                for task, of in self.answers.items()
            },
        }


def _count_boxes(record: Record, boxes: Mapping[str, Counter[int]]) -> None:
    found = [box for turn in record.turns for mention in turn.mentions for box in mention.boxes]
    if found:
        boxes["a record"][len(found)] += 1
    for place in found:
        box = place.upright() if isinstance(place, OrientedBox) else place
        shorter, longer = sorted((round(100 * (box.x2 - box.x1)), round(100 * (box.y2 - box.y1))))
        boxes["shorter side"][shorter] += 1
        boxes["longer side"][longer] += 1


def _count_answer(record: Record, answers: dict[str, Counter[str] | None]) -> None:
    if record.task not in SHORT_ANSWERS or len(record.turns) != 1:
        return
    known = answers.setdefault(record.task, Counter())
    if known is not None:
        known[record.turns[0].answer.strip().casefold()] += 1
        if len(known) > MOST_ANSWERS:
            answers[record.task] = None


def _image_sizes(
    images: set[str], workers: int, progress: Callable[[int, int], None] | None
) -> dict[str, dict[str, int] | int]:
    """``width x height`` -> images, the most frequent first; and how many cannot be read."""
    sizes: Counter[str] = Counter()
    unreadable = 0
    for look in look_at_all(sorted(images), decode=False, workers=workers, progress=progress):
        if look.size is None:
            unreadable += 1
        else:
            sizes["{} x {}".format(*look.size)] += 1
    return {"unreadable": unreadable, "sizes": dict(sizes.most_common())}


def _histogram(counts: Counter[int]) -> dict[str, Any] | None:
    """Least, median, mean, 95th percentile and greatest of a counted number, and the counts; None of no number."""
    total = counts.total()
    if not total:
        return None
    ordered = sorted(counts.items())
    return {
        "least": ordered[0][0],
        "median": _quantile(ordered, total, 0.5),
        "mean": round(sum(value * count for value, count in ordered) / total, 2),
        "p95": _quantile(ordered, total, 0.95),
        "most": ordered[-1][0],
        "counts": {str(value): count for value, count in ordered},
    }


def _quantile(ordered: list[tuple[int, int]], total: int, share: float) -> int:
    """The smallest value that at least ``share`` of the numbers do not exceed."""
    below, wanted = 0, math.ceil(share * total)
    for value, count in ordered:
        below += count
        if below >= wanted:
            return value
    raise AssertionError("a share is at most 1")
