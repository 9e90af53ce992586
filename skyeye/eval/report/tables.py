"""Scores as rows: what the page, Markdown and LaTeX put into their tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from skyeye.eval.metrics import LOWER_IS_BETTER
from skyeye.eval.results import BenchmarkResult, MetricValue, Protocol

NONE = "–"
#: Counts of scores.json that the page says in its own words.
_SAID = frozenset({"records", "images", "shuffled_phrases items", "skipped", "skipped by rule"})


@dataclass(frozen=True)
class MetricRow:
    """One metric as text."""

    metric: str
    score: str
    interval: str
    shuffled_images: str
    shuffled_phrases: str  # with the score on the same items in brackets


@dataclass(frozen=True)
class Part:
    """One type or class within a metric (``accuracy/count``), in the metric's own unit."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    shuffled_images: float | None
    records: int | None


@dataclass(frozen=True)
class QuotedRow:
    """A method with its value for each metric of the table, and whether that is the best of the column."""

    method: str
    cells: list[tuple[str, bool]]


@dataclass(frozen=True)
class Quoted:
    """Published numbers of other methods with ours behind them.

    Attributes:
        metrics: names of the columns, in our words.
        labels: the same for a reader.
        rows: the quoted ones.
        ours: our row; its cells are marked as best only where ``comparable``.
        intervals: of our cells, empty where there is none.
        comparable: whether as many records were asked as are published.
        source: who is quoted.
    """

    metrics: list[str]
    labels: list[str]
    rows: list[QuotedRow]
    ours: QuotedRow
    intervals: list[str]
    comparable: bool
    source: str


def number(value: float | None, digits: int = 1) -> str:
    """A score as text, a dash for none."""
    return NONE if value is None else f"{value:.{digits}f}"


def interval(of: MetricValue) -> str:
    """``69.0–73.1``, or nothing where no interval was computed."""
    return "" if of.low is None or of.high is None else f"{of.low:.1f}–{of.high:.1f}"


def label(metric: str) -> str:
    """The name of a metric for a reader: ``accuracy/rural_urban`` -> ``rural urban``."""
    name = metric.split("/", 1)[-1]
    return name.replace("_", " ") if name == name.lower() else name  # ROUGE_L is a name of its own


def name_of(about: Mapping[str, Any]) -> str:
    """What a result is called: its recipe, a server's model, or the last part of the checkpoint's or file's path."""
    path = PurePath(str(about.get("checkpoint") or ""))
    return str(about.get("recipe") or about.get("model") or path.name or "this result")


def metric_row(name: str, of: MetricValue) -> MetricRow:
    """One metric as text."""
    phrases = number(of.shuffled_phrases)
    if of.shuffled_phrases is not None:
        phrases += f" ({number(of.value_on_shuffled_phrases_items)})"
    shown = f"{name} (less is better)" if name in LOWER_IS_BETTER else name
    return MetricRow(shown, number(of.value), interval(of), number(of.shuffled_images), phrases)


def metric_rows(result: BenchmarkResult) -> list[MetricRow]:
    """The metrics of a benchmark; parts of a metric are left to :func:`parts`."""
    return [metric_row(name, of) for name, of in result.metrics.items() if "/" not in name]


def parts(result: BenchmarkResult) -> dict[str, list[Part]]:
    """Metric -> its parts by type or class."""
    found: dict[str, list[Part]] = defaultdict(list)
    for name, x in result.metrics.items():
        if "/" in name:
            metric, of = name.split("/", 1)
            records = result.counts.get(of)
            found[metric].append(Part(of.replace("_", " "), x.value, x.low, x.high, x.shuffled_images, records))
    return dict(found)


def size(result: BenchmarkResult) -> tuple[str, bool]:
    """How much of the published test set was asked, in words (nothing where its size is not known), and whether the
    numbers can be put beside published ones."""
    published = result.protocol.published
    if published is None:
        return "", True
    asked, all_of = result.counts.get("questions", result.counts["records"]), published.records
    source = f" ({published.source})" if published.source else ""
    if asked == all_of:
        return f"all {all_of:,} published records{source}", True
    if asked < all_of:
        return f"{asked:,} of {all_of:,} published records: not comparable{source}", False
    return f"{asked:,} records where {all_of:,} are published: not comparable{source}", False


def quoted(result: BenchmarkResult, ours: str) -> Quoted | None:
    """The table of a benchmark against published numbers, or None where nobody is quoted."""
    of = result.protocol.quoted
    if of is None or not of.rows:
        return None
    methods = of.rows
    metrics = list(dict.fromkeys(name for values in methods.values() for name in values))
    own = [result.metrics.get(metric, MetricValue(None)) for metric in metrics]
    values = [metric.value for metric in own]
    _, comparable = size(result)
    best = [
        _best(metric, [row.get(metric) for row in methods.values()] + ([value] if comparable else []))
        for metric, value in zip(metrics, values, strict=True)
    ]

    def row(method: str, numbers: list[float | None], may_win: bool = True) -> QuotedRow:
        texts = [number(value, 2) for value in numbers]
        return QuotedRow(method, [(t, may_win and t == b) for t, b in zip(texts, best, strict=True)])

    return Quoted(
        metrics,
        [label(metric) for metric in metrics],
        [row(method, [said.get(metric) for metric in metrics]) for method, said in methods.items()],
        row(ours, values, comparable),
        [interval(metric) for metric in own],
        comparable,
        of.source,
    )


def _best(metric: str, values: list[float | None]) -> str | None:
    """The best value as it is printed: two that read the same are both the best."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return number(min(known) if metric in LOWER_IS_BETTER else max(known), 2)


def best_quoted(result: BenchmarkResult, metric: str) -> tuple[str, float] | None:
    """(method, value) of the best quoted number of a metric, or None."""
    of = result.protocol.quoted
    said = {m: values[metric] for m, values in of.rows.items() if values.get(metric) is not None} if of else {}
    if not said:
        return None
    method = (min if metric in LOWER_IS_BETTER else max)(said, key=said.__getitem__)
    return method, said[method]


def quoted_metric(result: BenchmarkResult) -> str | None:
    """The metric that stands for a benchmark beside others: its main one if anybody is quoted with it, else the last
    of the quoted ones, where papers have their average."""
    of = result.protocol.quoted
    names = list(dict.fromkeys(name for values in of.rows.values() for name in values)) if of else []
    if not names:
        return None
    main = result.protocol.main_metric
    return main if main in names else names[-1]


def format_counts(result: BenchmarkResult) -> list[str]:
    """What was asked, what a rule skipped, and the further counts of a benchmark that are not zero."""
    counts = result.counts
    words = [f"{counts['records']:,} records, {counts['images']:,} images"]
    if counts.get("shuffled_phrases items"):
        words.append(f"{counts['shuffled_phrases items']:,} could be asked with shuffled phrases")
    if counts.get("skipped by rule"):
        words.append(f"{counts['skipped by rule']:,} objects or records skipped by rule")
    types = {name.split("/", 1)[1] for name in result.metrics if "/" in name}
    further = {k: n for k, n in counts.items() if k not in _SAID | types and n and not k.startswith("skipped: ")}
    return words + [f"{name}: {n:,}" for name, n in further.items()]


def format_protocol(protocol: Protocol) -> list[tuple[str, str]]:
    """The protocol: (what, in words), without full stops."""
    said = [
        ("Metric", protocol.metric),
        ("Asked", " ".join(protocol.question.split())),
        ("Decoding", protocol.decoding),
        ("Interval", protocol.interval),
        ("Shuffled images", protocol.shuffled_images),
        ("Shuffled phrases", protocol.shuffled_phrases),
    ]
    return [(name, words) for name, words in said if words]
