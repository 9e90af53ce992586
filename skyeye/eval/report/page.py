"""A result as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skyeye.eval.report import charts, tables
from skyeye.eval.report.galleries import Example, Pictures, Row, chosen, example, searchable
from skyeye.eval.report.render import render
from skyeye.eval.verdict import Verdict, verdict

IN_ORDER = 8  # parts of a metric that keep their order; more are sorted by score

#: benchmark -> condition (seen, blind, deaf) -> rows of its prediction file.
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
    protocol: Mapping[str, Any]
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


def report(scores: Mapping[str, Any], predictions: Predictions) -> str:
    """The page as HTML text.

    Args:
        scores: content of ``scores.json``.
        predictions: the rows of the prediction files; a benchmark without any gets tables and no pictures.
    """
    about = scores["about"]
    name = tables.name_of(about)
    entries = {benchmark: entry for benchmark, entry in scores.items() if benchmark != "about"}
    sections = [
        _section(f"b{index}", said, entries[said.benchmark], predictions.get(said.benchmark, {}), name)
        for index, said in enumerate(verdict(dict(scores)), 1)
    ]
    quoted = sum(section.quoted is not None for section in sections)
    return render(
        "report.html.jinja",
        about=about,
        name=name,
        sections=sections,
        radar=charts.radar(entries, name),
        quoted=quoted,
        deaf=any(section.counts.get("deaf items") for section in sections),
        fewest_axes=charts.FEWEST_AXES,
    )


def _section(
    anchor: str, said: Verdict, entry: Mapping[str, Any], rows: Mapping[str, Sequence[Row]], name: str
) -> Section:
    seen, family = list(rows.get("seen", [])), entry["protocol"]["family"]
    galleries = _galleries(anchor, said.benchmark, rows)
    shown = {row["id"]: drawn.anchor for _, pairs in galleries[::-1] for row, drawn in pairs if drawn.pictures}
    overlaps = {c: [row["iou"] for row in of if row.get("iou") is not None] for c, of in rows.items() if c != "deaf"}
    return Section(
        said.benchmark,
        anchor,
        said,
        entry["protocol"],
        entry["counts"],
        _glance(entry),
        tables.metric_rows(entry),
        tables.quoted(entry, name),
        tables.size(entry),
        tables.counts_in_words(entry),
        tables.protocol_in_words(entry),
        [
            _bars(metric, of, "class" if family == "classification" else "kind")
            for metric, of in tables.parts(entry).items()
        ],
        charts.confusion(seen) if family == "classification" else None,
        charts.histogram(overlaps),
        [(title, [drawn for _, drawn in pairs]) for title, pairs in galleries],
        len(shown),
        searchable(seen, shown, said.benchmark),
    )


def _glance(entry: Mapping[str, Any]) -> Glance:
    main = entry["protocol"]["main_metric"]
    best = tables.best_quoted(entry, main)
    return Glance(
        tables.metric_row(main, entry[main]) if main in entry else None,
        best and (best[0], tables.number(best[1], 2)),
    )


def _bars(metric: str, parts: list[tables.Part], of: str) -> Bars:
    largest = max((x for part in parts for x in (part.value, part.blind) if x is not None), default=0.0)
    if len(parts) > IN_ORDER:
        parts = sorted(parts, key=lambda part: -1.0 if part.value is None else part.value, reverse=True)
    return Bars(metric, of, max(100.0, largest), parts)


def _galleries(
    anchor: str, name: str, rows: Mapping[str, Sequence[Row]]
) -> list[tuple[str, list[tuple[Row, Example]]]]:
    seen = rows.get("seen", [])
    others = {c: {row["id"]: row["answer"] for row in rows[c]} for c in ("blind", "deaf") if c in rows}
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
