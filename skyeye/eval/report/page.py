"""A result as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skyeye.eval.benchmarks.conditions import CONTROLS
from skyeye.eval.report import charts, tables
from skyeye.eval.report.galleries import Example, Pictures, Row, chosen, example, searchable
from skyeye.eval.report.render import render
from skyeye.eval.results import BenchmarkResult, EvalResults, Protocol
from skyeye.eval.verdict import Verdict, verdict

IN_ORDER = 8  # parts of a metric that keep their order; more are sorted by score

#: benchmark -> condition (seen, shuffled_images, shuffled_phrases) -> rows of its prediction file.
Predictions = Mapping[str, Mapping[str, Sequence[Row]]]


@dataclass(frozen=True)
class Bars:
    """The parts of one metric with the value that a full bar stands for."""

    metric: str
    of: str  # kind or class
    top: float
    parts: list[tables.Part]


@dataclass(frozen=True)
class Glance:
    """A benchmark's line of the first table."""

    row: tables.MetricRow | None
    best: tuple[str, str] | None  # method and value, quoted


@dataclass(frozen=True)
class Section:
    """One benchmark."""

    name: str
    anchor: str
    verdict: Verdict
    protocol: Protocol
    counts: Mapping[str, int]
    glance: Glance
    metrics: list[tables.MetricRow]
    quoted: tables.Quoted | None
    size: tuple[str, bool]
    counted: list[str]
    words: list[tuple[str, str]]
    bars: list[Bars]
    confusion: charts.Confusion | None
    histogram: charts.Histogram | None
    galleries: list[tuple[str, list[Example]]]
    pictured: int
    search: dict[str, Any]


def report(results: EvalResults, predictions: Predictions) -> str:
    """The page as HTML text.

    Args:
        results: what ``scores.json`` holds.
        predictions: the rows of the prediction files; a benchmark without any gets tables and no pictures.
    """
    name = tables.name_of(results.about)
    sections = [
        _section(f"b{index}", said, results.benchmarks[said.benchmark], predictions.get(said.benchmark, {}), name)
        for index, said in enumerate(verdict(results), 1)
    ]
    quoted = sum(section.quoted is not None for section in sections)
    return render(
        "report.html.jinja",
        about=results.about,
        name=name,
        sections=sections,
        radar=charts.radar(results.benchmarks, name),
        quoted=quoted,
        shuffled_phrases=any(section.counts.get("shuffled_phrases items") for section in sections),
        fewest_axes=charts.FEWEST_AXES,
    )


def _section(
    anchor: str, said: Verdict, result: BenchmarkResult, rows: Mapping[str, Sequence[Row]], name: str
) -> Section:
    seen, family = list(rows.get("seen", [])), result.protocol.family
    galleries = _galleries(anchor, said.benchmark, rows)
    shown = {row["id"]: drawn.anchor for _, pairs in galleries[::-1] for row, drawn in pairs if drawn.pictures}
    overlaps = {c: [row["iou"] for row in of if row.get("iou") is not None] for c, of in rows.items()}
    overlaps.pop("shuffled_phrases", None)  # right boxes for other words: their IoU says nothing
    return Section(
        said.benchmark,
        anchor,
        said,
        result.protocol,
        result.counts,
        _glance(result),
        tables.metric_rows(result),
        tables.quoted(result, name),
        tables.size(result),
        tables.format_counts(result),
        tables.format_protocol(result.protocol),
        [
            _bars(metric, of, "class" if family == "classification" else "kind")
            for metric, of in tables.parts(result).items()
        ],
        charts.confusion(seen) if family == "classification" else None,
        charts.histogram(overlaps),
        [(title, [drawn for _, drawn in pairs]) for title, pairs in galleries],
        len(shown),
        searchable(seen, shown, said.benchmark),
    )


def _glance(result: BenchmarkResult) -> Glance:
    main = result.protocol.main_metric
    best = tables.best_quoted(result, main)
    return Glance(
        tables.metric_row(main, result.main) if main in result.metrics else None,
        best and (best[0], tables.number(best[1], 2)),
    )


def _bars(metric: str, parts: list[tables.Part], of: str) -> Bars:
    largest = max((x for part in parts for x in (part.value, part.shuffled_images) if x is not None), default=0.0)
    if len(parts) > IN_ORDER:
        parts = sorted(parts, key=lambda part: -1.0 if part.value is None else part.value, reverse=True)
    return Bars(metric, of, max(100.0, largest), parts)


def _galleries(
    anchor: str, name: str, rows: Mapping[str, Sequence[Row]]
) -> list[tuple[str, list[tuple[Row, Example]]]]:
    seen = rows.get("seen", [])
    others = {c.replace("_", " "): {row["id"]: row["answer"] for row in rows[c]} for c in CONTROLS if c in rows}
    pictures = Pictures()
    galleries, count = [], 0
    for title, of in chosen(seen, name):
        drawn = []
        for row in of:
            count += 1
            elsewhere = [(c, answers[row["id"]]) for c, answers in others.items() if row["id"] in answers]
            drawn.append((row, example(f"{anchor}e{count}", row, [("", row)], pictures, elsewhere)))
        galleries.append((title, drawn))
    return galleries
