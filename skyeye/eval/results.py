"""What an evaluation is about: answers, and the results that ``scores.json`` holds; it is read and written only here.

``scores.json`` is one object: benchmark -> its metrics by name, ``counts`` and ``protocol``; and ``about``, what was
evaluated. :func:`read_scores` takes a file that :func:`write_scores` wrote and no other, to the last key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from skyeye.data.files import write_json
from skyeye.data.formats.base.problems import load_json
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.errors import SkyEyeError
from skyeye.generation.certainty import Told

#: Keys of a benchmark in ``scores.json`` that are no metrics.
NOT_METRICS = frozenset({"counts", "protocol"})
#: What a benchmark scores of an answer.
Output = Literal["text", "boxes", "mask", "embedding"]


@dataclass(frozen=True)
class Mask:
    """Pixels of an image by the lengths of their runs, row by row: background and object in turns, background first."""

    height: int
    width: int
    runs: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """What a model says to a question.

    Attributes:
        text: its words as they came; empty where it says nothing.
        boxes: in fractions of the image, in the order they are named; None: not read, or none are offered.
        scores: how sure each of ``boxes`` is, higher is surer; None: nobody says, they are alike.
        mask: the object, where the model draws it.
        embedding: a vector, where the answer is chosen by nearness.
        cut: it was not at its end when it had as many tokens as are allowed.
        refused: why a server gave no answer, in its words; empty: it gave one.
        told: tokens of ``text``, from which its boxes have their certainty; empty: they are not told.
    """

    text: str = ""
    boxes: tuple[Box | OrientedBox, ...] | None = None
    mask: Mask | None = None
    embedding: tuple[float, ...] | None = None
    cut: bool = False
    scores: tuple[float, ...] | None = None
    refused: str = ""
    told: tuple[Told, ...] = ()


@dataclass(frozen=True)
class MetricValue:
    """One metric of a benchmark, in the unit of :mod:`skyeye.eval.metrics`; None where nothing could be measured.

    Attributes:
        value: of the questions as they are.
        shuffled_images: with images permuted among the questions.
        shuffled_phrases: with the words permuted among the objects of a scene.
        low, high: bootstrap interval of ``value``.
        value_on_shuffled_phrases_items: ``value`` of those questions alone that ``shuffled_phrases`` could ask.
    """

    value: float | None
    shuffled_images: float | None = None
    shuffled_phrases: float | None = None
    low: float | None = None
    high: float | None = None
    value_on_shuffled_phrases_items: float | None = None


@dataclass(frozen=True)
class Published:
    """How large the published test set is, and who says so."""

    records: int
    source: str


@dataclass(frozen=True)
class QuotedResults:
    """Published numbers of other methods, as printed (percent; CIDEr x 100).

    Attributes:
        table, set: of which table of the source, and which data set in it.
        rows: method -> our name of a metric -> value.
    """

    table: str
    set: str
    source: str
    notes: tuple[str, ...]
    rows: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Protocol:
    """What a reader has to know to compare the numbers of a benchmark with others.

    Attributes:
        question: the first one, as it was asked.
        decoding: how the answers were made.
        metric: how the metrics are computed.
        interval: of what kind ``low`` and ``high`` are.
        published: of a test set whose size is published.
        shuffled_images: what was permuted; None where this was not asked. ``shuffled_phrases`` likewise.
    """

    title: str
    family: str
    main_metric: str
    question: str
    decoding: str
    metric: str
    interval: str
    published: Published | None = None
    quoted: QuotedResults | None = None
    notes: tuple[str, ...] = ()
    shuffled_images: str | None = None
    shuffled_phrases: str | None = None


@dataclass(frozen=True)
class BenchmarkResult:
    """One benchmark: ``counts`` say how many records, images, skipped ones ... the metrics rest on."""

    metrics: Mapping[str, MetricValue]
    counts: Mapping[str, int]
    protocol: Protocol

    @property
    def main(self) -> MetricValue:
        """The main metric; a value of None where it was not measured."""
        return self.metrics.get(self.protocol.main_metric, MetricValue(None))


@dataclass(frozen=True)
class EvalResults:
    """All benchmarks of an evaluation by name, and what was evaluated with what (``checkpoint``, ``seed``, ...)."""

    benchmarks: Mapping[str, BenchmarkResult]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class PredictionFileScores:
    """A prediction file scored on one benchmark.

    Attributes:
        metrics, intervals: by name; None where there is none.
        metrics_of_answered: of the records that have an answer; None when all have one, or none has.
        unknown, missing, double: ids that fit no record, records without an answer, records with several.
        repeated: records with the same answer several times; it counts once.
        output_format: what was taken off how many answers before they were scored, because it is no part of them.
        reasons: for unknown, double and repeated ones, what is wrong.
        ids: by what the ids of the file name records, in words.
        keys: under which names ``id`` and ``answer`` stood.
        hints: where the file seems to mean something else.
        unreadable, skipped: lines of the file, and records of the data set: ``kind``, ``where``, ``what``.
        size: how the data differ from the published test set.
    """

    benchmark: str
    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float, float] | None]
    metrics_of_answered: dict[str, float | None] | None
    counts: dict[str, int]
    unknown: list[str]
    missing: list[str]
    double: list[str]
    repeated: list[str]
    output_format: dict[str, int]
    reasons: dict[str, str]
    ids: str
    keys: dict[str, list[str]]
    hints: list[str]
    unreadable: list[dict[str, str]]
    skipped: list[dict[str, str]]
    size: str | None
    protocol: Protocol
    about: dict[str, Any]


def read_scores(path: str | Path) -> EvalResults:
    """The results in a ``scores.json``.

    Raises:
        SkyEyeError: no such file, or one that :func:`write_scores` did not write, with the key that is wrong.
    """
    try:
        content = load_json(Path(path), dict)
    except SkyEyeError as error:  # its remedies are those for annotations
        raise _wrong(error.what, error.where or str(path)) from error
    return scores_from_json(content, str(path))


def write_scores(path: str | Path, results: EvalResults) -> None:
    """Write results as ``scores.json``, whole or not at all."""
    write_json(path, scores_to_json(results), indent=1)


def scores_to_json(results: EvalResults) -> dict[str, Any]:
    """What ``scores.json`` holds."""
    benchmarks = {name: _benchmark_to_json(result) for name, result in results.benchmarks.items()}
    return {**benchmarks, "about": dict(results.about)}


def scores_from_json(content: Mapping[str, Any], where: str) -> EvalResults:
    """The other way round; ``where`` is named in errors.

    Raises:
        SkyEyeError: a key is missing or unknown, or holds something else than it should.
    """
    about = _object(content.get("about"), f"{where}, key about")
    if not isinstance(about.get("checkpoint"), str):
        raise _wrong("is no text", f"{where}, key about.checkpoint")
    for key in ("data_root", "notation"):
        _check(about.get(key), str | None, f"{where}, key about.{key}")
    benchmarks = {
        name: _benchmark_from_json(_object(entry, f"{where}, key {name}"), f"{where}, key {name}")
        for name, entry in content.items()
        if name != "about"
    }
    return EvalResults(benchmarks, about)


def _benchmark_to_json(result: BenchmarkResult) -> dict[str, Any]:
    metrics = {name: asdict(value) for name, value in result.metrics.items()}
    if result.protocol.shuffled_phrases is None:  # then there are no such items
        for value in metrics.values():
            del value["value_on_shuffled_phrases_items"]
    return {**metrics, "counts": dict(result.counts), "protocol": asdict(result.protocol)}


def _benchmark_from_json(entry: Mapping[str, Any], where: str) -> BenchmarkResult:
    counts = _object(entry.get("counts"), f"{where}.counts")
    for name in ("records", "images"):
        _check(counts.get(name), int, f"{where}.counts.{name}")
    for name, number in counts.items():
        _check(number, int, f"{where}.counts.{name}")
    protocol = _protocol_from_json(_object(entry.get("protocol"), f"{where}.protocol"), f"{where}.protocol")
    optional = {"value_on_shuffled_phrases_items"} if protocol.shuffled_phrases is None else set()
    metrics = {}
    for name, value in entry.items():
        if name not in NOT_METRICS:
            values = _keys(value, MetricValue, f"{where}.{name}", optional)
            for key, number in values.items():
                _check(number, int | float | None, f"{where}.{name}.{key}")
            metrics[name] = MetricValue(**values)
    return BenchmarkResult(metrics, counts, protocol)


def _protocol_from_json(content: Mapping[str, Any], where: str) -> Protocol:
    values = dict(_keys(content, Protocol, where))
    for key in ("title", "family", "main_metric", "question", "decoding", "metric", "interval"):
        _check(values[key], str, f"{where}.{key}")
    for key in ("shuffled_images", "shuffled_phrases"):
        _check(values[key], str | None, f"{where}.{key}")
    if values["published"] is not None:
        published = _keys(values["published"], Published, f"{where}.published")
        _check(published["records"], int, f"{where}.published.records")
        _check(published["source"], str, f"{where}.published.source")
        values["published"] = Published(**published)
    if values["quoted"] is not None:
        quoted = dict(_keys(values["quoted"], QuotedResults, f"{where}.quoted"))
        for key in ("table", "set", "source"):
            _check(quoted[key], str, f"{where}.quoted.{key}")
        for method, row in _object(quoted["rows"], f"{where}.quoted.rows").items():
            for metric, number in _object(row, f"{where}.quoted.rows.{method}").items():
                _check(number, int | float | None, f"{where}.quoted.rows.{method}.{metric}")
        values["quoted"] = QuotedResults(**{**quoted, "notes": _texts(quoted["notes"], f"{where}.quoted.notes")})
    values["notes"] = _texts(values["notes"], f"{where}.notes")
    return Protocol(**values)


def _keys(content: Any, kind: type, where: str, optional: set[str] = frozenset()) -> Mapping[str, Any]:
    """An object with the fields of ``kind`` as keys and no others."""
    names = [each.name for each in fields(kind)]
    for unknown in _object(content, where).keys() - set(names):
        raise _wrong("is not known", f"{where}.{unknown}")
    for name in names:
        if name not in content and name not in optional:
            raise _wrong("is missing", f"{where}.{name}")
    return content


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong("is missing or no object {...}", where)
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise _wrong("is no list of texts", where)
    return tuple(value)


def _check(value: Any, kind: type | UnionType, where: str) -> None:
    not_a_number = isinstance(value, float) and not math.isfinite(value)  # JSON of Python knows NaN and Infinity
    if isinstance(value, bool) or not_a_number or not isinstance(value, kind):
        raise _wrong(f"is no {'text' if isinstance('', kind) else 'number'}", where)


def _wrong(what: str, where: str) -> SkyEyeError:
    remedy = "the file is damaged, or of another version or program; write it again: skyeye eval"
    return SkyEyeError(what, where=where, remedy=remedy)
