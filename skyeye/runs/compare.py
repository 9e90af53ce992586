"""``skyeye runs compare``: what differs between runs, in settings and in what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from skyeye.errors import SkyEyeError
from skyeye.html.line_chart import COLOURS, Curve, chart
from skyeye.html.numbers import short
from skyeye.html.page import render
from skyeye.run_log import METRICS
from skyeye.runs.page import median_of, stage_starts
from skyeye.runs.read import Run

#: Settings that differ between any two runs and say nothing.
PLACES = ("output_dir", "run.dir")
#: Rates that are compared, as the median of the logged steps.
RATES = ("samples_per_second", "tokens_per_second", "supervised_tokens_per_second", "mfu", "data_wait_share")
MISSING = "–"


@dataclass(frozen=True)
class Table:
    """Rows of a name and one cell for each run; ``empty`` is said where there is no row."""

    title: str
    kind: str
    rows: list[list[str]]
    empty: str


def tables(runs: Sequence[Run]) -> list[Table]:
    """What is compared, one table a subject.

    Raises:
        SkyEyeError: fewer than two runs.
    """
    if len(runs) < 2:
        raise SkyEyeError("one run cannot be compared", remedy="give two or more run folders")
    return [
        Table(
            "Settings that differ", "settings", _settings(runs), "None: the recipes are equal, but for their folders."
        ),
        Table("Losses", "losses", _losses(runs), "Nothing has been logged."),
        Table("Throughput and memory", "rates", _rates(runs), "Nothing has been logged."),
        Table("Scores", "scores", _scores(runs), "No scores.json lies in the run folders; skyeye eval writes them."),
    ]


def compare_page(runs: Sequence[Run]) -> str:
    """The tables and the curves of all runs in one page, as HTML text."""
    placed = [stage_starts(run) for run in runs]
    charts = []
    for key, (title, unit) in METRICS.items():
        curves = [
            Curve(name, n % COLOURS, [(starts[x["stage"]] + x["step"], x.get(key)) for x in run.lines])
            for n, (name, run, (starts, _)) in enumerate(zip(run_names(runs), runs, placed, strict=True))
        ]
        drawn = chart(title, unit, [curve for curve in curves if curve.points], (0, max(end for _, end in placed)))
        if drawn is not None:
            charts.append(drawn)
    return render(
        "skyeye.runs",
        "compare.html.jinja",
        colours=COLOURS,
        names=run_names(runs),
        tables=tables(runs),
        charts=charts,
        notes=[f"{name}: {note}" for name, run in zip(run_names(runs), runs, strict=True) for note in run.notes],
        now=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def as_text(runs: Sequence[Run]) -> str:
    """The tables for a terminal."""
    names = run_names(runs)
    parts = []
    for table in tables(runs):
        parts += ["", table.title]
        if not table.rows:
            parts.append(f"  {table.empty}")
            continue
        rows = [["", *names], *table.rows]
        widths = [max(len(_cut(row[column])) for row in rows) for column in range(len(rows[0]))]
        parts += ["  " + "  ".join(_cut(c).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(parts).lstrip("\n")


def run_names(runs: Sequence[Run]) -> list[str]:
    """The folders' own names where they differ, else their paths."""
    short_names = [run.folder.resolve().name for run in runs]
    return short_names if len(set(short_names)) == len(runs) else [str(run.folder) for run in runs]


def _settings(runs: Sequence[Run]) -> list[list[str]]:
    keys = dict.fromkeys(key for run in runs for key in run.settings if key not in PLACES)
    rows = [[key, *(run.settings.get(key, MISSING) for run in runs)] for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def _losses(runs: Sequence[Run]) -> list[list[str]]:
    rows = []
    for stage in dict.fromkeys(line["stage"] for run in runs for line in run.lines):
        last, lowest, steps = [f"{stage}: last"], [f"{stage}: lowest"], [f"{stage}: steps"]
        for run in runs:
            lines = run.of_stage(stage)
            losses = [line["loss"] for line in lines if line.get("loss") is not None]
            last.append(f"{losses[-1]:.4f}" if losses else MISSING)
            lowest.append(f"{min(losses):.4f}" if losses else MISSING)
            steps.append(str(lines[-1]["step"]) if lines else MISSING)
        rows += [last, lowest, steps]
    return rows


def _rates(runs: Sequence[Run]) -> list[list[str]]:
    rows = []
    for stage in dict.fromkeys(line["stage"] for run in runs for line in run.lines):
        for key in RATES:
            title, unit = METRICS[key]
            rows.append([f"{stage}: {title}, {unit}", *(_short(median_of(run.of_stage(stage), key)) for run in runs)])
        peaks = [
            [line["memory_peak_gib"] for line in run.of_stage(stage) if line.get("memory_peak_gib")] for run in runs
        ]
        rows.append([f"{stage}: memory peak, GiB", *(_short(max(peak, default=None)) for peak in peaks)])
    return [row for row in rows if set(row[1:]) != {MISSING}]


def _scores(runs: Sequence[Run]) -> list[list[str]]:
    """A row for each file, benchmark and metric that some run has; of a metric its value on the images as they are."""
    found: dict[str, dict[int, float]] = {}
    for number, run in enumerate(runs):
        for path, scores in run.scores.items():
            place = path.removesuffix("/scores.json").removeprefix("checkpoints/")
            for benchmark, result in scores.benchmarks.items():
                for metric, of in result.metrics.items():
                    if of.value is not None:
                        found.setdefault(f"{place}: {benchmark} {metric}", {})[number] = of.value
    return [
        [name, *(f"{values[n]:.1f}" if n in values else MISSING for n in range(len(runs)))]
        for name, values in found.items()
    ]


def _short(value: Any) -> str:
    return MISSING if value is None else short(value)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
