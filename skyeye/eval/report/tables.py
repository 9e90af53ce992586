"""Scores as rows: what the page, Markdown and LaTeX put into their tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from skyeye.eval.metrics import LOWER_IS_BETTER
from skyeye.eval.verdict import metrics_of

NONE = "–"
#: Counts of scores.json that the page says in its own words.
_SAID = frozenset({"records", "images", "deaf items", "left out", "left out by rule"})


@dataclass(frozen=True)
class MetricRow:
    """One metric as text."""

    metric: str
    score: str
    interval: str
    blind: str
    deaf: str  # with the score on the same items in brackets


@dataclass(frozen=True)
class Part:
    """One type or class within a metric (``accuracy/count``), in the metric's own unit."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    blind: float | None
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


def interval(triple: Mapping[str, float | None]) -> str:
    """``69.0–73.1``, or nothing where no interval was computed."""
    low, high = triple.get("low"), triple.get("high")
    return "" if low is None or high is None else f"{low:.1f}–{high:.1f}"


def label(metric: str) -> str:
    """The name of a metric for a reader: ``accuracy/rural_urban`` -> ``rural urban``."""
    name = metric.split("/", 1)[-1]
    return name.replace("_", " ") if name == name.lower() else name  # ROUGE_L is a name of its own


def name_of(about: Mapping[str, Any]) -> str:
    """What a result is called: its recipe, or the last part of the checkpoint's or file's path."""
    return str(about.get("recipe") or PurePath(str(about.get("checkpoint") or "")).name or "this result")


def metric_row(name: str, triple: Mapping[str, float | None]) -> MetricRow:
    """One metric of ``scores.json`` as text."""
    deaf = number(triple["deaf"])
    if triple["deaf"] is not None:
        deaf += f" ({number(triple.get('value_on_deaf_items'))})"
    shown = f"{name} (less is better)" if name in LOWER_IS_BETTER else name
    return MetricRow(shown, number(triple["value"]), interval(triple), number(triple["blind"]), deaf)


def metric_rows(entry: Mapping[str, Any]) -> list[MetricRow]:
    """The metrics of a benchmark; parts of a metric are left to :func:`parts`."""
    return [metric_row(name, triple) for name, triple in metrics_of(entry).items() if "/" not in name]


def parts(entry: Mapping[str, Any]) -> dict[str, list[Part]]:
    """Metric -> its parts by type or class."""
    found: dict[str, list[Part]] = defaultdict(list)
    for name, triple in metrics_of(entry).items():
        if "/" in name:
            metric, of = name.split("/", 1)
            low, high = triple.get("low"), triple.get("high")
            records = entry["counts"].get(of)
            found[metric].append(Part(of.replace("_", " "), triple["value"], low, high, triple["blind"], records))
    return dict(found)


def size(entry: Mapping[str, Any]) -> tuple[str, bool]:
    """How much of the published test set was asked, in words (nothing where its size is not known), and whether the
    numbers can be put beside published ones."""
    published = entry["protocol"].get("published")
    if not published:
        return "", True
    asked, all_of = entry["counts"]["records"], published["records"]
    source = f" ({published['source']})" if published.get("source") else ""
    if asked == all_of:
        return f"all {all_of:,} published records{source}", True
    if asked < all_of:
        return f"{asked:,} of {all_of:,} published records: not comparable{source}", False
    return f"{asked:,} records where {all_of:,} are published: not comparable{source}", False


def quoted(entry: Mapping[str, Any], ours: str) -> Quoted | None:
    """The table of a benchmark against published numbers, or None where nobody is quoted."""
    of = entry["protocol"].get("quoted")
    if not of or not of["rows"]:
        return None
    methods: dict[str, Mapping[str, float | None]] = of["rows"]
    metrics = list(dict.fromkeys(name for values in methods.values() for name in values))
    triples = [entry.get(metric) or {} for metric in metrics]
    values = [triple.get("value") for triple in triples]
    _, comparable = size(entry)
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
        [interval(triple) for triple in triples],
        comparable,
        str(of.get("source") or ""),
    )


def _best(metric: str, values: list[float | None]) -> str | None:
    """The best value as it is printed: two that read the same are both the best."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return number(min(known) if metric in LOWER_IS_BETTER else max(known), 2)


def best_quoted(entry: Mapping[str, Any], metric: str) -> tuple[str, float] | None:
    """(method, value) of the best quoted number of a metric, or None."""
    of = entry["protocol"].get("quoted")
    said = {m: values[metric] for m, values in of["rows"].items() if values.get(metric) is not None} if of else {}
    if not said:
        return None
    method = (min if metric in LOWER_IS_BETTER else max)(said, key=said.__getitem__)
    return method, said[method]


def quoted_metric(entry: Mapping[str, Any]) -> str | None:
    """The metric that stands for a benchmark beside others: its main one if anybody is quoted with it, else the last
    of the quoted ones, where papers have their average."""
    of = entry["protocol"].get("quoted")
    names = list(dict.fromkeys(name for values in of["rows"].values() for name in values)) if of else []
    if not names:
        return None
    main = entry["protocol"]["main_metric"]
    return main if main in names else names[-1]


def counts_in_words(entry: Mapping[str, Any]) -> list[str]:
    """What was asked, what was left out, and the further counts of a benchmark that are not zero."""
    counts = entry["counts"]
    words = [f"{counts['records']:,} records, {counts['images']:,} images"]
    if counts.get("deaf items"):
        words.append(f"{counts['deaf items']:,} could be asked deaf")
    if counts.get("left out by rule"):
        words.append(f"{counts['left out by rule']:,} objects or records left out by rule")
    types = {name.split("/", 1)[1] for name in metrics_of(entry) if "/" in name}
    further = {k: n for k, n in counts.items() if k not in _SAID | types and n and not k.startswith("left out: ")}
    return words + [f"{name}: {n:,}" for name, n in further.items()]


def protocol_in_words(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The protocol: (what, in words), without full stops."""
    protocol = entry["protocol"]
    said = [
        ("Metric", protocol["metric"]),
        ("Asked", " ".join(str(protocol["question"]).split())),
        ("Decoding", protocol["decoding"]),
        ("Interval", protocol.get("interval")),
        ("Blind", protocol.get("blind")),
        ("Deaf", protocol.get("deaf")),
    ]
    return [(name, words) for name, words in said if words]
