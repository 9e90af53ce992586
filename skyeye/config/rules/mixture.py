"""Rules of ``stages[].mixture``: what is drawn from, how often, and when."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from skyeye.config.issue import Issue
from skyeye.config.rules.registry import below, rule
from skyeye.config.schema import MixtureEntry, StageConfig


@rule(MixtureEntry)
def weights_are_not_negative(entry: MixtureEntry) -> Iterator[Issue]:
    yield from below(entry, 0, "weight")
    for task, weight in (entry.tasks or {}).items():
        if weight < 0:
            yield Issue("tasks", f"{weight} for {task} is below 0", (f"tasks.{task}",))


@rule(MixtureEntry)
def some_task_is_asked(entry: MixtureEntry) -> Iterator[Issue]:
    if entry.tasks is not None and not any(entry.tasks.values()):
        yield Issue("tasks", "nothing is asked: give a task a weight above 0, or null for all tasks", ("tasks",))


@rule(MixtureEntry)
def start_and_end_enclose_something(entry: MixtureEntry) -> Iterator[Issue]:
    if not 0 <= entry.start < entry.end <= 1:
        message = f"start {entry.start} and end {entry.end} enclose nothing; 0 <= start < end <= 1"
        yield Issue("", message, ("start", "end"))


@rule(StageConfig)
def a_mixture_names_a_source(stage: StageConfig) -> Iterator[Issue]:
    if not stage.mixture:
        yield Issue("mixture", "is empty; name a source, e.g. [{source: NAME}]", ("mixture",))


@rule(StageConfig)
def something_is_drawn_all_the_time(stage: StageConfig) -> Iterator[Issue]:
    """Silent where a weight, a start or an end is wrong by itself."""
    numbers = [(entry.weight, entry.start, entry.end) for entry in stage.mixture]
    if not numbers or any(weight < 0 or not 0 <= start < end <= 1 for weight, start, end in numbers):
        return
    settings = [f"mixture[{i}].{name}" for i in range(len(numbers)) for name in ("weight", "start", "end")]
    if not any(weight for weight, _, _ in numbers):
        yield Issue("mixture", "all weights are 0: there is nothing to draw from", tuple(settings))
        return
    drawn = [(start, end) for weight, start, end in numbers if weight > 0]
    edges = sorted({0.0, 1.0, *(edge for span in drawn for edge in span)})
    for low, high in itertools.pairwise(edges):
        if not any(start <= low and high <= end for start, end in drawn):
            message = f"nothing is drawn between {low:.0%} and {high:.0%} of the stage; let a source reach over it"
            yield Issue("mixture", message, tuple(settings))
