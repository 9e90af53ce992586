"""What is done for answerers that are no model of this project: words and room for boxes, traces of their formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from skyeye.eval.answers.output_format import without_output_format
from skyeye.eval.benchmarks import Benchmark
from skyeye.eval.benchmarks.conditions import BenchmarkRun
from skyeye.eval.box_families import BoxFamily
from skyeye.eval.results import Answer
from skyeye.eval.settings import EvalSettings

_ROOM = 4  # times the longest answer with boxes of this project: JSON around each box, digits that are tokens


def with_box_prompts(settings: EvalSettings, chosen: Sequence[Benchmark], family: BoxFamily) -> EvalSettings:
    """The settings with the questions for boxes in the words of a family, where none were given."""
    asked = {benchmark.name: family.prompt(benchmark.family) for benchmark in chosen if benchmark.output == "boxes"}
    worded = {name: prompt for name, prompt in asked.items() if prompt is not None}
    return replace(settings, prompts={**worded, **settings.prompts})


def with_room_for_boxes(runs: Sequence[BenchmarkRun], settings: EvalSettings) -> list[BenchmarkRun]:
    """The runs with longer answers where boxes are asked for: others write more around a box than this project does."""
    if settings.max_new_tokens is not None:
        return list(runs)
    return [
        replace(run, max_new_tokens=_ROOM * run.max_new_tokens) if run.benchmark.output == "boxes" else run
        for run in runs
    ]


def with_note_on_boxes(runs: Sequence[BenchmarkRun], words: str) -> list[BenchmarkRun]:
    """The runs with how boxes were read in the protocol of those that score them."""
    return [replace(run, notes=(*run.notes, words)) if run.benchmark.output == "boxes" else run for run in runs]


def without_traces(answers: Sequence[Answer]) -> tuple[list[Answer], dict[str, int]]:
    """Answers without the traces of an output format, as those of a prediction file; what was taken off how many."""
    plain, counts = [], Counter[str]()
    for answer in answers:
        text, traces = without_output_format(answer.text)
        counts.update(f"with {kind} taken off" for kind in traces)
        plain.append(replace(answer, text=text))
    return plain, dict(counts.most_common())
