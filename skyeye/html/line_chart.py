"""Curves as SVG paths, computed here: the page needs no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from skyeye.html.numbers import short

WIDTH, HEIGHT = 480, 240  # units of a chart
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 12, 26  # around the drawn field
MOST_POINTS = 600  # of one curve; a longer one keeps the lowest and highest of each part

#: Colours of curves (line_chart.css); further curves begin again.
COLOURS = 8

#: (x, y); y is None where there is no finite number, and the curve has a gap there.
Point = tuple[float, float | None]


@dataclass(frozen=True)
class Curve:
    """One line of a chart. ``colour``: number of a colour of the page."""

    name: str
    colour: int
    points: Sequence[Point]


@dataclass(frozen=True)
class Path:
    """A curve in units of the chart; ``dots`` are the points that no line connects."""

    name: str
    colour: int
    d: str
    dots: list[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """One field with axes."""

    title: str
    unit: str
    paths: list[Path]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    edges: list[tuple[float, str]]  # where a stage begins, and its name
    last: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart(
    title: str,
    unit: str,
    curves: Sequence[Curve],
    x_range: tuple[float, float],
    edges: Sequence[tuple[float, str]] = (),
) -> Chart | None:
    """Draw curves into one field; None when no point has a number.

    Args:
        x_range: steps at the left and right side, the same for all charts of a page.
        edges: (step, name) of the stages.
    """
    known = [y for curve in curves for _, y in curve.points if y is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-30):
        space = abs(high) * 0.1 or 1.0
        low, high = (low - space if low < 0 else max(0.0, low - space)), high + space
    x_low, x_high = x_range
    x_high = x_high if x_high > x_low else x_low + 1

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * (x - x_low) / (x_high - x_low)
        up = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - low) / (high - low)
        return round(across, 1), round(up, 1)

    paths = []
    for curve in curves:
        runs = _unbroken(thinned(curve.points))
        lines = [
            "M" + "L".join(f"{x} {y}" for x, y in (place(*point) for point in run)) for run in runs if len(run) > 1
        ]
        paths.append(Path(curve.name, curve.colour, "".join(lines), [place(*run[0]) for run in runs if len(run) == 1]))
    last = [y for curve in curves[-1:] for _, y in curve.points if y is not None]
    return Chart(
        title,
        unit,
        paths,
        [(place(x, low)[0], short(x)) for x in ticks(x_low, x_high)],
        [(place(x_low, y)[1], short(y)) for y in ticks(low, high)],
        [(place(x, low)[0], name) for x, name in edges],
        short(last[-1]) if last else "",
    )


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most :data:`MOST_POINTS` points; of each part of a longer curve its lowest and its highest, so that a spike of
    one step stays to be seen. A part without numbers stays a gap."""
    if len(points) <= MOST_POINTS:
        return list(points)
    size = math.ceil(2 * len(points) / MOST_POINTS)
    kept: list[Point] = []
    for start in range(0, len(points), size):
        part = [(x, y) for x, y in points[start : start + size] if y is not None]
        if not part:
            kept.append(points[start])
            continue
        ends = {min(range(len(part)), key=lambda i: part[i][1]), max(range(len(part)), key=lambda i: part[i][1])}
        kept += [part[i] for i in sorted(ends)]
    return kept


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two others, at most ``most`` + 1 of them."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= raw * (1 - 1e-9)), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _unbroken(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """The parts of a curve between its gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]
