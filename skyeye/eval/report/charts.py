"""Charts of a result as numbers for SVG, computed here; the templates draw them.

Units are those of the charts' own boxes; y is downwards. Colours are numbers of the page's palette.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skyeye.eval.report.tables import number, quoted_metric
from skyeye.eval.results import BenchmarkResult, MetricValue

COLOURS = 8  # of the page; further curves begin again, dashed
FEWEST_AXES = 3  # of a radar chart
SHOWN_AT_FIRST = 4  # methods of the radar chart, ours among them
BINS = 20  # of the IoU histogram
NONE, SEVERAL = "(none)", "(several)"  # columns of the confusion matrix that are no classes
MOST_PAIRS = 12  # confused pairs in the table


@dataclass(frozen=True)
class Axis:
    """One benchmark on the radar chart. ``top`` is the value at the rim; the centre is 0."""

    benchmark: str
    metric: str
    top: float
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True)
class Series:
    """One method on the radar chart: the lines between axes it has values on, and its values."""

    name: str
    ours: bool
    shown: bool
    colour: int
    dashed: bool
    d: str
    closed: bool
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Radar:
    """The radar chart; ``rings`` are polygons at a quarter, a half, three quarters and the whole of each axis.

    The first series is ours."""

    axes: list[Axis]
    rings: list[str]
    series: list[Series]
    width: int = 680
    height: int = 500


def radar(benchmarks: Mapping[str, BenchmarkResult], ours: str) -> Radar | None:
    """All benchmarks with quoted numbers on one chart, as in figure 1 of the SkyEyeGPT paper, an axis each.

    Args:
        ours: what our polygon is called.

    Returns:
        None where fewer than three benchmarks have quoted numbers.
    """
    metrics = {name: metric for name, result in benchmarks.items() if (metric := quoted_metric(result))}
    if len(metrics) < FEWEST_AXES:
        return None
    everyone = _values(benchmarks, metrics, ours)
    tops = {name: _top([of[name] for of in everyone.values() if name in of]) for name in metrics}
    places = {name: _spoke(index, len(metrics)) for index, name in enumerate(metrics)}
    axes = [
        Axis(name, metric, tops[name], *_at(places[name], 1), *_at(places[name], 1.09), _anchor(places[name]))
        for name, metric in metrics.items()
    ]
    rings = [
        " ".join("{},{}".format(*_at(spoke, share)) for spoke in places.values()) for share in (0.25, 0.5, 0.75, 1)
    ]
    series = []
    for rank, (name, of) in enumerate(everyone.items()):
        points = [_at(places[b], max(of[b], 0) / tops[b]) if b in of else None for b in metrics]
        words = [f"{name}: {b} {metrics[b]} {number(of[b], 2)}" if b in of else "" for b in metrics]
        dots = [(*point, said) for point, said in zip(points, words, strict=True) if point]
        drawn, closed = _outline(points)
        colour, again = (rank - 1) % COLOURS, rank > COLOURS
        series.append(Series(name, rank == 0, rank < SHOWN_AT_FIRST, colour, again, drawn, closed, dots))
    return Radar(axes, rings, series)


def _values(
    benchmarks: Mapping[str, BenchmarkResult], metrics: Mapping[str, str], ours: str
) -> dict[str, dict[str, float]]:
    """Method -> benchmark -> value of the metric that stands for it: ours first, then the fullest of the others."""
    values: dict[str, dict[str, float]] = {}
    own: dict[str, float] = {}
    for name, metric in metrics.items():
        for method, said in benchmarks[name].protocol.quoted.rows.items():
            if said.get(metric) is not None:
                values.setdefault(method, {})[name] = said[metric]
        value = benchmarks[name].metrics.get(metric, MetricValue(None)).value
        if value is not None:
            own[name] = value
    if ours in values:
        ours += " (this result)"
    methods = sorted(values, key=lambda method: (-len(values[method]), method != "SkyEyeGPT"))
    return {ours: own, **{method: values[method] for method in methods}}


def _top(values: Sequence[float]) -> float:
    """The next round number: tens up to 100, then fifties."""
    largest = max(values, default=0)
    step = 10 if largest <= 100 else 50
    return float(max(step, step * math.ceil(largest / step)))


def _spoke(index: int, of: int) -> tuple[float, float]:
    angle = 2 * math.pi * index / of
    return math.sin(angle), -math.cos(angle)


def _at(spoke: tuple[float, float], share: float) -> tuple[float, float]:
    return round(340 + 190 * share * spoke[0], 1), round(250 + 190 * share * spoke[1], 1)


def _anchor(spoke: tuple[float, float]) -> str:
    return "middle" if abs(spoke[0]) < 0.2 else "start" if spoke[0] > 0 else "end"


def _outline(points: Sequence[tuple[float, float] | None]) -> tuple[str, bool]:
    """The path through neighbouring axes; an axis without a value leaves a gap. And whether it goes all the way."""
    if None not in points:
        return "M" + "L".join("{} {}".format(*point) for point in points) + "Z", True
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    return "".join("M{} {}L{} {}".format(*a, *b) for a, b in pairs if a and b), False


@dataclass(frozen=True)
class Histogram:
    """IoU of the answers: bars by IoU, and how many answers lie above each threshold, as curves."""

    bars: list[tuple[float, float, float, float, str]]  # x, y, width, height, words
    curves: list[tuple[str, str]]  # condition, path
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str, str]]  # y, answers, percent
    words: str
    width: int = 560
    height: int = 270
    left: int = 54
    right: int = 510
    top: int = 14
    bottom: int = 228


def histogram(overlaps: Mapping[str, Sequence[float]]) -> Histogram | None:
    """IoU histogram of the condition ``seen``, with cumulative curves of all conditions.

    Args:
        overlaps: condition -> IoU of each answer, 0..1.
    """
    seen = overlaps.get("seen")
    if not seen:
        return None
    left, right, top, bottom = Histogram.left, Histogram.right, Histogram.top, Histogram.bottom
    bins = Counter(min(int(value * BINS + 1e-9), BINS - 1) for value in seen)
    step = _step(max(bins.values()))
    highest = 4 * step
    width = (right - left) / BINS
    bars = []
    for index in range(BINS):
        height = (bottom - top) * bins[index] / highest
        words = f"IoU {index / BINS:.2f} to {(index + 1) / BINS:.2f}: {bins[index]:,} answers"
        bars.append(
            (
                round(left + index * width + 1, 1),
                round(bottom - height, 1),
                round(width - 2, 1),
                round(height, 1),
                words,
            )
        )
    curves = [
        (condition, _above(values, (left, right, top, bottom))) for condition, values in overlaps.items() if values
    ]
    y_ticks = [(round(bottom - (bottom - top) * n / 4, 1), f"{n * step:,}", f"{25 * n} %") for n in range(5)]
    x_ticks = [(round(left + (right - left) * n / 10, 1), f"{n / 10:.1f}") for n in range(0, 11, 2)]
    above = sum(value > 0.5 for value in seen)
    apart = sum(value == 0 for value in seen)
    words = f"{above:,} of {len(seen):,} answers lie above 0.5; {apart:,} have no overlap at all"
    return Histogram(bars, curves, x_ticks, y_ticks, words)


def _step(largest: int) -> int:
    """A quarter of the axis: 1, 2 or 5 times a power of ten, so that four of them hold the largest bar."""
    power = 10 ** max(0, math.floor(math.log10(max(largest / 4, 1))))
    return next(step for step in (power, 2 * power, 5 * power, 10 * power) if 4 * step >= largest)


def _above(values: Sequence[float], field: tuple[int, int, int, int]) -> str:
    left, right, top, bottom = field
    ordered = sorted(values)
    points = []
    position = 0
    for hundredth in range(101):
        while position < len(ordered) and ordered[position] <= hundredth / 100:
            position += 1
        share = (len(ordered) - position) / len(ordered)
        points.append(f"{left + (right - left) * hundredth / 100:.1f} {bottom - (bottom - top) * share:.1f}")
    return "M" + "L".join(points)


@dataclass(frozen=True)
class Confusion:
    """Heat map of true classes (rows) against what was answered (columns), and its largest cells off the diagonal."""

    rows: list[tuple[str, float]]  # label, y of its middle
    columns: list[tuple[str, float]]  # label, x of its middle
    cells: list[tuple[float, float, float, bool, str, str]]  # x, y, opacity, right, count to print, words
    side: float
    left: float
    top: float
    width: float
    height: float
    pairs: list[tuple[str, str, int, float]]  # truth, answered, count, percent of the truth's answers


def confusion(rows: Sequence[Mapping[str, Any]]) -> Confusion | None:
    """The confusion matrix of the rows of a classification benchmark; None without rows.

    Further columns are ``(none)`` and ``(several)``: answers that name no class, or more than one.
    """
    if not rows:
        return None
    labels = {_compact(str(row["truth"])): str(row["truth"]) for row in rows}
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        truth, named = str(row["truth"]), row["named"]
        truth = labels[_compact(truth)]
        said = truth if row["correct"] else NONE if not named else SEVERAL if len(named) > 1 else str(named[0])
        counts[truth, said if said in (NONE, SEVERAL) else labels.get(_compact(said), said)] += 1
    truths = sorted(labels.values(), key=str.lower)
    further = sorted({said for _, said in counts} - set(truths) - {NONE, SEVERAL}, key=str.lower)
    columns = [*truths, *further, *(x for x in (NONE, SEVERAL) if any(said == x for _, said in counts))]
    return _drawn(counts, truths, columns)


def _drawn(counts: Counter[tuple[str, str]], truths: list[str], columns: list[str]) -> Confusion:
    totals: Counter[str] = Counter()
    for (truth, _), n in counts.items():
        totals[truth] += n
    side = 34.0 if len(columns) <= 14 else 20.0 if len(columns) <= 32 else 15.0
    room = 6.4 * min(max(map(len, [*truths, *columns])), 22) + 14
    cells = []
    for (truth, said), n in counts.items():
        share = n / totals[truth]
        x, y = room + side * columns.index(said), room + side * truths.index(truth)
        words = f"{truth} → {said}: {n:,} of {totals[truth]:,} ({100 * share:.0f} %)"
        printed = f"{n}" if side > 30 and n < 1000 else ""
        cells.append((round(x, 1), round(y, 1), round(0.12 + 0.88 * share, 3), truth == said, printed, words))
    wrong = sorted(
        ((n, truth, said) for (truth, said), n in counts.items() if truth != said), key=lambda x: (-x[0], x[1:])
    )
    return Confusion(
        [(_short(name), round(room + side * (i + 0.5), 1)) for i, name in enumerate(truths)],
        [(_short(name), round(room + side * (i + 0.5), 1)) for i, name in enumerate(columns)],
        cells,
        side,
        round(room, 1),
        round(room, 1),
        round(room + side * len(columns) + 8, 1),
        round(room + side * len(truths) + 8, 1),
        [(truth, said, n, 100 * n / totals[truth]) for n, truth, said in wrong[:MOST_PAIRS]],
    )


def _compact(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower() or name


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"
