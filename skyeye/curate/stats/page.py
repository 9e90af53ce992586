"""Counts as plots, and all of it on one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyeye.curate.stats.words import summary_rows
from skyeye.data.files import write_whole
from skyeye.html.page import render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 20
MOST_BINS = 60
_COLOURS = ("#35a7ff", "#ff8a1f", "#21c063", "#b388ff", "#16324a", "#b3392f", "#8a6d3b", "#5b6b7b")


def write_page(stats: Mapping[str, Any], out: str | Path) -> list[Path]:
    """Write ``stats.json``, a PNG for each plot and ``stats.html`` with all of it.

    Returns:
        The files.

    Raises:
        SkyEyeError: the folder cannot be written.
    """
    out = Path(out)
    written = [out / "stats.json"]
    write_whole(written[0], json.dumps(stats, indent=1) + "\n")
    plots = []
    for name, title, draw in _plots(stats):
        picture = _png(title, draw)
        write_whole(out / f"{name}.png", picture)
        written.append(out / f"{name}.png")
        plots.append((title, "data:image/png;base64," + base64.b64encode(picture).decode()))
    page = render("skyeye.curate.stats", "page.html.jinja", stats=stats, plots=plots, summary=summary_rows(stats))
    write_whole(out / "stats.html", page)
    return [*written, out / "stats.html"]


def _plots(stats: Mapping[str, Any]) -> list[tuple[str, str, Callable[[Axes], None]]]:
    """(file name, title, what draws it) of every plot that has something to show."""
    lengths = {
        part: {task: of[part]["counts"] for task, of in stats["tokens"].items()} for part in ("question", "learnt")
    }
    sides = {what: of["counts"] for what, of in stats["boxes"].items() if of is not None and "side" in what}
    plots = [
        ("tasks", "records of each task", lambda axes: _bars(axes, stats["tasks"])),
        (
            "tokens_question",
            "tokens of a branch that are not learnt",
            lambda axes: _histogram(axes, lengths["question"], "tokens"),
        ),
        (
            "tokens_learnt",
            "tokens of a branch that are learnt",
            lambda axes: _histogram(axes, lengths["learnt"], "tokens"),
        ),
    ]
    if stats["samples_per_image"]:
        counts = {"images": stats["samples_per_image"]["counts"]}
        plots.append(("samples_per_image", "samples of an image", lambda axes: _histogram(axes, counts, "samples")))
    if sides:
        plots.append(
            ("boxes", "sides of boxes", lambda axes: _histogram(axes, sides, "% of the image's side", stacked=False))
        )
    if stats["image_sizes"]["sizes"]:
        plots.append(("image_sizes", "images of each size", lambda axes: _bars(axes, stats["image_sizes"]["sizes"])))
    for task, answers in stats["answers"].items():
        if answers is not None:
            top, distinct = answers["top"], answers["distinct"]
            plots.append((f"answers_{task}", f"answers of {task}", lambda axes, of=(top, distinct): _bars(axes, *of)))
    return plots


def _png(title: str, draw: Callable[[Axes], None]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")  # no pyplot: no window, nothing shared
    axes = figure.subplots()
    draw(axes)
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def _bars(axes: Axes, counts: Mapping[str, int], distinct: int | None = None) -> None:
    """The most frequent of ``distinct`` things (None: of those that are counted here)."""
    distinct = distinct or len(counts)
    shown = list(counts.items())[:MOST_BARS]
    # a dollar sign would open a formula, and a control character has no picture
    names = ["".join(c if c.isprintable() else " " for c in name)[:28].replace("$", r"\$") for name, _ in shown]
    axes.barh(range(len(shown)), [count for _, count in shown], color=_COLOURS[0])
    axes.set_yticks(range(len(shown)), names)
    axes.invert_yaxis()
    if distinct > len(shown):
        axes.set_xlabel(f"the {len(shown)} most frequent of {distinct}")


def _histogram(axes: Axes, series: Mapping[str, Mapping[str, int]], unit: str, stacked: bool = True) -> None:
    """Series of counted numbers. The axis ends where 99 % of the numbers do, and the last bin holds the rest."""
    pooled = sorted((int(value), count) for counts in series.values() for value, count in counts.items())
    total, seen, end = sum(count for _, count in pooled), 0, pooled[-1][0]
    for value, count in pooled:
        seen += count
        if seen >= 0.99 * total:
            end = value
            break
    start = pooled[0][0]
    width = max(1, -(-(end - start + 1) // MOST_BINS))
    edges = list(range(start, end + width + 1, width))
    values = [[min(int(value), end) for value in counts] for counts in series.values()]
    weights = [list(counts.values()) for counts in series.values()]
    colours = [_COLOURS[number % len(_COLOURS)] for number in range(len(series))]
    kind = {"stacked": True} if stacked else {"histtype": "step", "linewidth": 2}
    axes.hist(values, bins=edges, weights=weights, label=list(series), color=colours, **kind)
    axes.set_xlabel(unit if end == pooled[-1][0] else f"{unit} (the last bar: {end} to {pooled[-1][0]})")
    if len(series) > 1:
        axes.legend(frameon=False, loc="upper right")
