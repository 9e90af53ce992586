"""What a benchmark is: data (a source below the data root), protocol (how it is asked), metric."""

from __future__ import annotations

import string
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems
from skyeye.data.formats.base.problems import Problem
from skyeye.data.images.load import load_image
from skyeye.data.prompts import read_tag
from skyeye.data.record import MARK, Record
from skyeye.data.tasks import FREE
from skyeye.errors import SkyEyeError
from skyeye.eval.metrics import Metric
from skyeye.eval.question import with_turn
from skyeye.eval.results import Output, Published

#: What becomes of a record whose image is missing or broken: it is skipped and told, or nothing is asked at all, or
#: (where answers that exist are scored, for which no image is needed) it stays.
MissingImages = Literal["skip", "stop", "keep"]

_BROKEN = ("missing image", "unusable image")
#: Families whose metrics compare boxes.
_OF_BOXES = ("refer", "phrase_grounding", "detection")
_READERS = 4  # threads that decode images


@dataclass(frozen=True)
class Benchmark:
    """One test set with its way of asking and scoring.

    Attributes:
        name: ``"rsvqa_lr"``, as given on the command line.
        title: a line for tables and reports.
        family: what kind of answer is scored; the report and the verdict go by it.
        source: data root -> where the records are.
        metric: (records, answers) -> scores.
        main_metric: the one that tables and the verdict look at.
        max_new_tokens: longest answer asked for.
        metric_words: how the metric is computed, for the protocol.
        keep: which records of the source belong to the benchmark.
        expand: record -> those that are asked in its place: with its options in several orders, say. Each names by
            ``references["asked"]`` the record it stands for.
        chosen: what the words of a record choose among the objects of its scene; None: the words choose no object, and
            they cannot be shuffled.
        also: other names of it, as papers write them.
        prompt: what is asked instead of the own question of a record; ``{question}`` is that one without its tag,
            ``{box}`` the box in it, ``{phrase}`` and ``{classes}`` come from the references. None: the own question.
        published: size of the published test set; what is there is compared with it.
        quoted: (table, data set) of :mod:`skyeye.eval.benchmarks.paper`, with the numbers of others to put beside ours.
        output: what of an answer is scored; the boxes in its text are read where it is ``boxes``.
        needs_images: the records cannot be made from the annotations alone (sizes, or the file list itself).
        texts: of a benchmark that compares embeddings, what the pictures are compared with, as records without images:
            (records, somebody's own template or None) -> texts.
        drawn_as: the name that seeds its controls, where they were first drawn under another one.
    """

    name: str
    title: str
    family: str  # captions | vqa | refer | phrase_grounding | classification | identify | choices | detection | numbers
    # | retrieval | zero_shot
    source: Callable[[Path], SourceConfig]
    metric: Metric
    main_metric: str
    max_new_tokens: int
    metric_words: str
    keep: Callable[[Record], bool] = lambda record: True
    expand: Callable[[Record], Sequence[Record]] | None = None
    chosen: Callable[[Record], Hashable] | None = None
    also: tuple[str, ...] = ()
    prompt: str | None = None
    published: Published | None = None
    quoted: tuple[str, str] | None = None
    output: Output = "text"
    needs_images: bool = False
    texts: Callable[[Sequence[Record], str | None], list[Record]] | None = None
    drawn_as: str | None = None

    def __post_init__(self) -> None:
        if (self.family in _OF_BOXES) != (self.output == "boxes"):
            raise SkyEyeError(
                f"family {self.family} with output {self.output}",
                where=f"benchmark {self.name}",
                remedy=f'output="boxes" goes with {", ".join(_OF_BOXES)}, and with nothing else',
            )
        if (self.texts is not None) != (self.output == "embedding"):
            what, remedy = f"output {self.output}, texts {self.texts}", "embeddings of pictures are compared with texts"
            raise SkyEyeError(what, where=f"benchmark {self.name}", remedy=remedy)

    def load(
        self, data_root: Path, missing_images: MissingImages = "skip", prompt: str | None = None
    ) -> tuple[list[Record], list[Problem]]:
        """The records that can be asked, and what had to be skipped (missing or broken images, unreadable records).

        Unless they may be missing, every image is decoded once here: a broken file is known before the first answer,
        not after an hour of them.

        Args:
            data_root: the folder that holds the data sets, or that of this one.
            missing_images: what becomes of records without a usable image.
            prompt: asked instead of :attr:`prompt`, as it stands.

        Raises:
            SkyEyeError: the data are not there, or nothing of them can be used, or an image is missing and
                ``missing_images`` is ``"stop"``.
        """
        without_images = missing_images == "keep" and not self.needs_images
        records, problems = read_with_problems(self.source(data_root), self.name, keep_absent=without_images)
        usable = [record for record in records if self.keep(record)]
        if not without_images:
            usable, broken = _with_sound_images(usable)
            problems += broken
        if missing_images == "stop" and (first := next((p for p in problems if p.kind in _BROKEN), None)):
            raise SkyEyeError(
                f"benchmark {self.name} lacks images, {sum(p.kind in _BROKEN for p in problems)} records at least;"
                f" the first: {first}",
                where=str(data_root),
                remedy="fetch them, or go without them by --missing-images skip",
            )
        if not usable:
            first = f"; the first: {problems[0]}" if problems else f" among {len(records)} records of the source"
            raise SkyEyeError(
                f"no record of benchmark {self.name} can be used{first}",
                where=str(data_root),
                remedy="check the data root (--data-root)",
            )
        if prompt is not None:  # somebody's own words: only what they say themselves is a tag
            task, words = read_tag(prompt)
            usable = [_prompted(record, words, task or FREE, self.name) for record in usable]
        elif self.prompt is not None:
            usable = [_prompted(record, self.prompt, record.turns[0].task, self.name) for record in usable]
        usable = _with_unique_ids(usable)
        if self.expand is not None:
            usable = [one for record in usable for one in self.expand(record)]
        return usable, problems

    def questions(self, records: Sequence[Record]) -> int:
        """How many records of the data set were asked, each perhaps several times."""
        return len(records) if self.expand is None else len({record.references["asked"] for record in records})


def _with_sound_images(records: list[Record]) -> tuple[list[Record], list[Problem]]:
    paths = list(dict.fromkeys(path for record in records for path in record.images))
    with ThreadPoolExecutor(_READERS) as readers:
        broken = {path: what for path, what in zip(paths, readers.map(_broken, paths), strict=True) if what}
    problems = [
        Problem("unusable image", record.where or record.id, broken[path])
        for record in records
        for path in record.images
        if path in broken
    ]
    return [record for record in records if not broken.keys() & set(record.images)], problems


def _broken(path: str) -> str | None:
    """Why an image cannot be used, or None."""
    try:
        load_image(path)
    except SkyEyeError as error:
        return str(error)
    return None


def _prompted(record: Record, prompt: str, task: str, name: str) -> Record:
    """The record with another first question; truth and images stay.

    Args:
        task: whose tag the prompt style puts before the question.
        name: of the benchmark, for messages.
    """
    own = record.turns[0]
    parts = {"question": (own.question, own.question_mentions)}
    if own.question_mentions:
        parts["box"] = (MARK, own.question_mentions[:1])
    if "phrase" in record.references:
        parts["phrase"] = (record.references["phrase"], ())
    if "classes" in record.references:
        parts["classes"] = (", ".join(record.references["classes"]), ())
    try:
        pieces = [(literal, key) for literal, key, _, _ in string.Formatter().parse(prompt)]
    except ValueError as error:
        raise SkyEyeError(
            f"prompt {prompt!r} cannot be read: {error}", where=name, remedy="write {{ and }} for braces"
        ) from error
    wanted = {key for _, key in pieces if key is not None}
    if wanted - parts.keys():
        raise SkyEyeError(
            f"prompt {prompt!r} wants {', '.join(sorted(wanted - parts.keys()))}, which {record.id} does not have",
            where=name,
            remedy=f"a prompt may hold {', '.join('{' + key + '}' for key in parts)}",
        )
    # not format(): it would give a prompt access to attributes
    filled = [(literal, parts[key] if key is not None else ("", ())) for literal, key in pieces]
    text = "".join(literal + words for literal, (words, _) in filled)
    return with_turn(record, own.asked(text, tuple(m for _, (_, mentions) in filled for m in mentions), task))


def _with_unique_ids(records: list[Record]) -> list[Record]:
    """Prediction files are joined by id: a second record of the same id gets ``#2`` behind it."""
    seen: dict[str, int] = {}
    result = []
    for record in records:
        seen[record.id] = seen.get(record.id, 0) + 1
        result.append(record if seen[record.id] == 1 else replace(record, id=f"{record.id}#{seen[record.id]}"))
    return result
