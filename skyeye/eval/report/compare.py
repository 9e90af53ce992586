"""Two results side by side, as an HTML page and as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skyeye.eval.metrics import LOWER_IS_BETTER
from skyeye.eval.metrics.bootstrap import Difference
from skyeye.eval.report import tables
from skyeye.eval.report.galleries import (
    GALLERY,
    Example,
    Pictures,
    Row,
    clipped,
    example,
    kind,
    measure,
    quality,
    sample,
    texts_of,
    varied,
)
from skyeye.eval.report.page import Predictions
from skyeye.eval.report.render import render
from skyeye.eval.report.to_markdown import cell, encodable
from skyeye.eval.results import BenchmarkResult, EvalResults

LEVEL = 0.05  # of p, below which a difference is called significant
UNCORRECTED = (
    "Each difference was tested by itself, without a correction for their number: of 20 that are nothing but chance, "
    "about one has p < 0.05."
)

#: benchmark -> metric -> how the two differ.
Differences = Mapping[str, Mapping[str, Difference]]


@dataclass(frozen=True)
class Line:
    """One metric of both. ``bar``: left and width of the interval and place of the difference, in percent of a field
    whose middle is no difference."""

    metric: str
    a: str
    b: str
    difference: str
    interval: str
    words: str
    better: str  # a or b where the difference is significant
    bar: tuple[float, float, float] | None


@dataclass(frozen=True)
class Pair:
    """The answers of both to one question, and what became of it."""

    a: Row
    b: Row
    mark: str


@dataclass(frozen=True)
class Section:
    """One benchmark that both have."""

    name: str
    anchor: str
    title: str
    main: Line | None
    lines: list[Line]
    counted: str
    warnings: list[str]
    words: list[tuple[str, str]]
    galleries: list[tuple[str, list[Example]]]
    boxed: bool
    search: dict[str, Any]


def comparison(
    results_a: EvalResults,
    results_b: EvalResults,
    differences: Differences,
    predictions_a: Predictions,
    predictions_b: Predictions,
) -> str:
    """The page as HTML text.

    Args:
        results_a: of the one.
        results_b: of the other.
        differences: of each metric of each benchmark to be shown: both values, b - a, its 95 % interval, and the
            two-sided p of a paired test.
        predictions_a: the rows of the one's prediction files; of these the condition ``seen`` is compared.
        predictions_b: the rows of the other's.
    """
    sections = []
    for index, (name, metrics) in enumerate(differences.items(), 1):
        rows = [list(of.get(name, {}).get("seen", [])) for of in (predictions_a, predictions_b)]
        sections.append(
            _section(f"b{index}", name, (results_a.benchmarks[name], results_b.benchmarks[name]), metrics, *rows)
        )
    names = _names(results_a.about, results_b.about)
    abouts = [results_a.about, results_b.about]
    tested = sum(len(metrics) for metrics in differences.values())
    return render(
        "compare.html.jinja", names=names, abouts=abouts, sections=sections, tested=tested, uncorrected=UNCORRECTED
    )


def comparison_markdown(results_a: EvalResults, results_b: EvalResults, differences: Differences) -> str:
    """The tables of :func:`comparison` as Markdown."""
    names = _names(results_a.about, results_b.about)
    lines = [f"# A: {cell(names[0])}, B: {cell(names[1])}", ""]
    lines += ["Difference: B - A, with its 95 % interval and the p of a paired bootstrap.", "", UNCORRECTED]
    for name, metrics in differences.items():
        both = (results_a.benchmarks[name], results_b.benchmarks[name])
        lines += ["", f"## {name}: {cell(both[0].protocol.title)}", ""]
        lines += [f"**{cell(warning)}**\n" for warning in not_alike(*both)]
        lines += ["| metric | A | B | difference | interval | |", "|---|---:|---:|---:|---:|---|"]
        for line in _lines(metrics):
            words = f"**{line.words}**" if line.better else line.words
            cells = [cell(line.metric), line.a, line.b, line.difference, line.interval, words]
            lines.append(f"| {' | '.join(cells)} |")
    return encodable("\n".join(lines) + "\n")


def _names(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, str]:
    names = tables.name_of(a), tables.name_of(b)
    if names[0] != names[1]:
        return names
    return str(a.get("checkpoint") or names[0]), str(b.get("checkpoint") or names[1])


def _section(
    anchor: str,
    name: str,
    both: tuple[BenchmarkResult, BenchmarkResult],
    metrics: Mapping[str, Difference],
    rows_a: Sequence[Row],
    rows_b: Sequence[Row],
) -> Section:
    protocol = both[0].protocol
    lines = _lines(metrics)
    main = next((line for line, metric in zip(lines, metrics, strict=True) if metric == protocol.main_metric), None)
    of_b = {row["id"]: row for row in rows_b}
    pairs = [Pair(row, of_b[row["id"]], _mark(row, of_b[row["id"]])) for row in rows_a if row["id"] in of_b]
    changed = [pair for pair in pairs if pair.a["answer"] != pair.b["answer"]]
    galleries = _galleries(anchor, name, changed)
    shown = {pair.a["id"]: drawn.anchor for _, found in galleries for pair, drawn in found if drawn.pictures}
    return Section(
        name,
        anchor,
        protocol.title,
        main,
        lines,
        _counted(pairs, changed, len(rows_a), len(rows_b)),
        not_alike(*both),
        tables.format_protocol(protocol),
        [(title, [drawn for _, drawn in found]) for title, found in galleries],
        protocol.family in ("refer", "phrase_grounding", "identify"),
        _searchable(changed, shown, name),
    )


def _lines(metrics: Mapping[str, Difference]) -> list[Line]:
    widest = max(
        (abs(x) for name, of in metrics.items() if name not in LOWER_IS_BETTER for x in _ends(of) if x is not None),
        default=0.0,
    )
    return [_line(name, of, widest) for name, of in metrics.items()]


def _ends(of: Difference) -> tuple[float | None, ...]:
    return of.difference, of.low, of.high


def _line(metric: str, of: Difference, widest: float) -> Line:
    difference, low, high = _ends(of)
    shown = f"{metric} (less is better)" if metric in LOWER_IS_BETTER else metric
    between = "" if low is None or high is None else f"{low:+.1f} to {high:+.1f}"
    words, better = _significance(metric, difference, of.p)
    bar = None
    if None not in (difference, low, high) and widest > 0 and metric not in LOWER_IS_BETTER:
        left, right, middle = (round(50 + 50 * x / widest, 2) for x in (low, high, difference))
        bar = (left, round(right - left, 2), middle)
    text = tables.NONE if difference is None else f"{difference:+.1f}"
    return Line(shown, tables.number(of.a), tables.number(of.b), text, between, words, better, bar)


def _significance(metric: str, difference: float | None, p: float | None) -> tuple[str, str]:
    """In words, and which is better where that is significant."""
    if difference is None or p is None:
        return "not tested", ""
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    if p >= LEVEL or difference == 0:
        return f"no difference shown ({chance})", ""
    better = "b" if (difference > 0) != (metric in LOWER_IS_BETTER) else "a"
    return f"{better.upper()} is better ({chance})", better


def not_alike(a: BenchmarkResult, b: BenchmarkResult) -> list[str]:
    """Where the two were not measured alike; sentences without full stops."""
    protocols = (
        ("The question", a.protocol.question, b.protocol.question),
        ("The decoding", a.protocol.decoding, b.protocol.decoding),
        ("The metric", a.protocol.metric, b.protocol.metric),
    )
    found = [f"{what} differs: A {one!r}, B {other!r}" for what, one, other in protocols if one != other]
    records = [of.counts["records"] for of in (a, b)]
    if records[0] != records[1]:
        found.append(f"A has answered {records[0]:,} records, B {records[1]:,}; compared are those that both have")
    return found


def _mark(a: Row, b: Row) -> str:
    """What became of an answer from A to B."""
    was, became = a.get("correct"), b.get("correct")
    if was is not None and became is not None:
        names = {True: "right", False: "wrong"}
        if bool(was) != bool(became):
            return f"{names[bool(was)]} → {names[bool(became)]}"
        return f"both {names[bool(was)]}"
    change = _gain(a, b)
    return "not judged" if change is None else "better" if change > 0 else "worse" if change < 0 else "as good"


def _gain(a: Row, b: Row) -> float | None:
    was, became = quality(a), quality(b)
    return None if was is None or became is None else became - was


def _counted(pairs: Sequence[Pair], changed: Sequence[Pair], in_a: int, in_b: int) -> str:
    marks = Counter(pair.mark for pair in changed)
    words = [f"{len(changed):,} of {len(pairs):,} answers differ"]
    words += [f"{mark}: {n:,}" for mark, n in sorted(marks.items())]
    alone = [
        f"{n - len(pairs):,} answers are in {side} alone" for n, side in ((in_a, "A"), (in_b, "B")) if n > len(pairs)
    ]
    return "; ".join(words + alone)


def _galleries(anchor: str, name: str, changed: Sequence[Pair]) -> list[tuple[str, list[tuple[Pair, Example]]]]:
    by_mark = {
        "right → wrong": "Right in A, wrong in B",
        "wrong → right": "Wrong in A, right in B",
        "worse": "Much worse in B",
        "better": "Much better in B",
    }
    pictures, galleries, count = Pictures(), [], 0
    for mark, title in by_mark.items():
        found = {id(pair.a): pair for pair in changed if pair.mark == mark}
        order = [found[id(row)] for row in varied([pair.a for pair in found.values()], f"{name} {mark}")]
        if mark in ("worse", "better"):
            order.sort(key=lambda pair: -abs(_gain(pair.a, pair.b) or 0))
        drawn = []
        for pair in order[:GALLERY]:
            count += 1
            drawn.append((pair, example(f"{anchor}e{count}", pair.a, [("A", pair.a), ("B", pair.b)], pictures)))
        if drawn:
            galleries.append((title, drawn))
    return galleries


def _searchable(changed: Sequence[Pair], shown: Mapping[str, str], name: str) -> dict[str, Any]:
    """The answers that differ, for the search of the page."""

    def urgency(pair: Pair) -> int:
        return 0 if pair.a["id"] in shown else 1 if "→" in pair.mark else 2

    return {
        "fields": ["asked", "A", "B", "truth"],
        "rows": [
            [
                pair.a["id"],
                kind(pair.a),
                pair.mark,
                " | ".join(filter(None, (measure(pair.a), measure(pair.b)))),
                shown.get(pair.a["id"], ""),
                clipped(pair.a["question"]),
                clipped(pair.a["answer"]),
                clipped(pair.b["answer"]),
                clipped(" / ".join(texts_of(pair.a))),
            ]
            for pair in sample(changed, urgency, name)
        ],
        "all": len(changed),
    }
