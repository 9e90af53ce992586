"""``skyeye runs show``: a run as one HTML page that needs nothing else, whether the run has ended or not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skyeye.data.geometry.boxes import Box
from skyeye.html.line_chart import COLOURS, Chart, Curve, Point, chart
from skyeye.html.numbers import duration, short
from skyeye.html.page import render
from skyeye.html.thumbnails import Outline, jpeg_url, outline
from skyeye.run_log import METRICS
from skyeye.runs.read import Run

LARGEST_PICTURE = 2 << 20  # bytes
MOST_SAMPLES = 40  # of one stage
MOST_ANSWERS = 12  # of one sample: the first and the latest


@dataclass(frozen=True)
class StageRow:
    """One stage in the table of the page, as text."""

    name: str
    state: str
    cells: list[str]


@dataclass(frozen=True)
class AnswerHistory:
    """One fixed sample with its answers in the order of the steps: (step, answer, whether it was failed)."""

    about: str
    pictures: list[str]
    outlines: list[Outline]
    question: str
    expected: str
    answers: list[tuple[int, str, bool]]


def page(run: Run) -> str:
    """The page as HTML text."""
    order = list(run.stages)
    starts, end = stage_starts(run)
    charts = []
    for key, (title, unit) in METRICS.items():
        curves = [
            Curve(
                name, order.index(name) % COLOURS, [(starts[name] + x["step"], x.get(key)) for x in run.of_stage(name)]
            )
            for name in order
        ]
        drawn = chart(title, unit, [c for c in curves if c.points], (0, end), [(starts[n], n) for n in order])
        if drawn is not None:
            charts.append(drawn)
    charts += _score_charts(run, starts, end)
    return render(
        "skyeye.runs",
        "run.html.jinja",
        run=run,
        name=run.settings.get("name", "").strip('"') or run.folder.name,
        state=state(run),
        stages=[_stage_row(run, name) for name in order],
        charts=charts,
        colours={name: place % COLOURS for place, name in enumerate(order)},
        unreadable=[f"stage {line['stage']}, step {line['step']}" for line in run.lines if line.get("loss") is None],
        events=[_event(event) for event in run.events],
        samples=_samples(run),
        environment=[(key, _words(value)) for key, value in run.environment.items()],
        now=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _score_charts(run: Run, starts: dict[str, int], end: int) -> list[Chart]:
    """One chart for each benchmark that was scored in training, with its metrics; parts of a metric are left out."""
    points: dict[str, dict[str, list[Point]]] = {}
    for line in run.evaluations:
        for name, value in line["scores"].items():
            benchmark, _, metric = name.partition("/")
            if line["stage"] in starts and metric and "/" not in metric:
                curves = points.setdefault(benchmark, {})
                curves.setdefault(metric, []).append((starts[line["stage"]] + line["step"], value))
    charts = []
    for benchmark, metrics in points.items():
        curves = [Curve(metric, place % COLOURS, found) for place, (metric, found) in enumerate(metrics.items())]
        drawn = chart(benchmark, "scored in training", curves[:COLOURS], (0, end), [(x, n) for n, x in starts.items()])
        if drawn is not None:
            charts.append(drawn)
    return charts


def stage_starts(run: Run) -> tuple[dict[str, int], int]:
    """The step of the whole run at which each stage begins, and the last one; only what was logged has a length."""
    starts, end = {}, 0
    for name in run.stages:
        starts[name] = end
        lines = run.of_stage(name)
        done = lines[-1]["step"] if lines else 0
        end += (run.stages[name] or done) if name in run.finished else done
    return starts, end


def state(run: Run) -> str:
    """One sentence: how far the run is."""
    if run.stages and len(run.finished) == len(run.stages):
        return "Finished: all stages are trained."
    if not run.lines:
        return "No step has been logged yet."
    line = run.lines[-1]
    steps = run.stages.get(line["stage"])
    words = f"Stage {line['stage']}, step {line['step']}{f' of {steps}' if steps else ''}"
    if line["time"]:
        words += f", logged at {line['time']}"
    left = line.get("seconds_left")
    return (
        f"{words}. {'' if left is None else 'Time left in this stage if it goes on: ' + duration(left) + '.'}".strip()
    )


def _stage_row(run: Run, name: str) -> StageRow:
    lines, steps = run.of_stage(name), run.stages[name]
    done = lines[-1]["step"] if lines else 0
    state = "finished" if name in run.finished else "begun" if lines else "not begun"
    losses = [line["loss"] for line in lines if line.get("loss") is not None]
    waits = [line["data_wait_share"] for line in lines if line.get("data_wait_share") is not None]
    memory = [line["memory_peak_gib"] for line in lines if line.get("memory_peak_gib") is not None]
    cells = [
        f"{done} of {steps}" if steps else str(done),
        short(losses[-1]) if losses else "–",
        short(min(losses)) if losses else "–",
        *(_median(lines, key) for key in ("samples_per_second", "tokens_per_second", "mfu")),
        f"{100 * sum(waits) / len(waits):.0f} %" if waits else "–",
        f"{max(memory):.2f}" if memory else "–",
    ]
    return StageRow(name, state, cells)


def _median(lines: list[dict[str, Any]], key: str) -> str:
    value = median_of(lines, key)
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if key == "mfu" else short(value)


def median_of(lines: list[dict[str, Any]], key: str) -> float | None:
    """The median of a number of log lines."""
    values = sorted(line[key] for line in lines if line.get(key) is not None)
    return values[len(values) // 2] if values else None


def _event(event: dict[str, Any]) -> tuple[str, str, str, str]:
    """(time, what, where, the rest in words)."""
    when = event.get("time", "")
    if isinstance(when, (int, float)) and not isinstance(when, bool) and 0 <= when < 2**40:
        when = datetime.fromtimestamp(min(when, 2**37), UTC).isoformat(timespec="seconds")
    place = ", step ".join(_words(event[key]) for key in ("stage", "step") if key in event)
    rest = {key: value for key, value in event.items() if key not in ("time", "event", "stage", "step")}
    return _words(when), _words(event.get("event", "")), place, "; ".join(f"{k}: {_words(v)}" for k, v in rest.items())


def _words(value: Any) -> str:
    """A value of a JSON file as short text."""
    if isinstance(value, dict):
        text = ", ".join(f"{key} {_words(entry)}" for key, entry in list(value.items())[:50])
    elif isinstance(value, list):
        text = ", ".join(_words(entry) for entry in value[:50])
    else:
        text = str(value)
    return text if len(text) <= 1000 else text[:1000] + " ..."


def _samples(run: Run) -> list[tuple[str, bool, list[AnswerHistory]]]:
    """For each stage: its name, whether its samples are held out, and the samples with their answers over time."""
    stages = dict.fromkeys(content["stage"] for content in run.samples)
    shown = []
    for stage in stages:
        rounds = [content for content in run.samples if content["stage"] == stage]
        rows: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = {}
        for content in rounds:
            for row in content["samples"]:
                rows.setdefault((row["source"], row["id"]), []).append((content["step"], row))
        chosen = [_sample(run, answers) for answers in list(rows.values())[:MOST_SAMPLES]]
        shown.append((stage, all(content["held_out"] for content in rounds), chosen))
    return shown


def _sample(run: Run, answers: list[tuple[int, dict[str, Any]]]) -> AnswerHistory:
    if len(answers) > MOST_ANSWERS:
        answers = answers[:1] + answers[1 - MOST_ANSWERS :]
    _, row = answers[-1]
    return AnswerHistory(
        " · ".join(row[key] for key in ("task", "source", "id") if row[key]),
        [url for name in row["pictures"] if (url := _picture(run.folder / "samples" / "pictures" / name))],
        [outline(Box(*box), kind) for kind, boxes in row["boxes"].items() for box in boxes],
        row["question"],
        row["expected"],
        [(step, said["failed"] or said["answer"], bool(said["failed"])) for step, said in answers],
    )


def _picture(path: Path) -> str | None:
    """A thumbnail as data: URL; None where it is gone or no JPEG."""
    if not path.is_file() or path.stat().st_size > LARGEST_PICTURE:
        return None
    content = path.read_bytes()
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    return jpeg_url(content)
