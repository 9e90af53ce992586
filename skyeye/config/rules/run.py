"""Rules of ``run`` and ``run.guards``."""

from __future__ import annotations

from collections.abc import Iterator

from skyeye.config.issue import Issue
from skyeye.config.rules.registry import below, rule
from skyeye.config.schema import GuardsConfig, RunConfig


@rule(GuardsConfig)
def counts_of_guards_are_in_range(guards: GuardsConfig) -> Iterator[Issue]:
    yield from below(guards, 1, "window", "patience")
    yield from below(guards, 0, "lead", "max_rewinds")


@rule(GuardsConfig)
def factors_of_guards_are_above_one(guards: GuardsConfig) -> Iterator[Issue]:
    for name in ("loss_factor", "norm_factor"):
        factor = getattr(guards, name)
        if factor is not None and factor <= 1:
            yield Issue(name, f"{factor} is not above 1 (null: no limit)", (name,))


@rule(GuardsConfig)
def broken_samples_are_a_share(guards: GuardsConfig) -> Iterator[Issue]:
    if not 0 <= guards.max_broken <= 1:
        yield Issue("max_broken", f"{guards.max_broken} is not a share between 0 and 1", ("max_broken",))


@rule(GuardsConfig)
def time_without_a_step_is_above_zero(guards: GuardsConfig) -> Iterator[Issue]:
    if guards.hang_seconds is not None and guards.hang_seconds <= 0:
        message = f"{guards.hang_seconds} is not above 0 (null: nothing is watched)"
        yield Issue("hang_seconds", message, ("hang_seconds",))


@rule(RunConfig)
def counts_of_a_run_are_in_range(run: RunConfig) -> Iterator[Issue]:
    yield from below(run, 0, "workers")
    yield from below(run, 1, "log_every", "checkpoint_every", "keep_states")
    yield from below(run, 1, "samples", "tokens_per_pack", "samples_every", "keep_every")


@rule(RunConfig)
def the_timeout_is_above_zero(run: RunConfig) -> Iterator[Issue]:
    if run.timeout_minutes <= 0:
        yield Issue("timeout_minutes", f"{run.timeout_minutes} is not above 0", ("timeout_minutes",))


@rule(RunConfig)
def frozen_weights_are_held_as_they_are_used(run: RunConfig) -> Iterator[Issue]:
    if run.frozen != "fp32" and run.precision not in ("auto", run.frozen):
        message = f"{run.frozen} weights are computed with in that precision; set precision, too"
        yield Issue("frozen", message, ("frozen", "precision"))


@rule(RunConfig)
def peak_speed_is_above_zero(run: RunConfig) -> Iterator[Issue]:
    if run.peak_tflops is not None and run.peak_tflops <= 0:
        yield Issue("peak_tflops", f"{run.peak_tflops} is not above 0", ("peak_tflops",))


@rule(RunConfig)
def samples_need_a_whole_model(run: RunConfig) -> Iterator[Issue]:
    if run.samples_every is not None and run.strategy == "zero3":
        message = (
            "under zero3 no process holds the whole model, and an answer whose length differs by a"
            " rounding would leave the others waiting for ever; leave samples_every out, or use zero2"
        )
        yield Issue("samples_every", message, ("samples_every", "strategy"))


@rule(RunConfig)
def a_source_of_samples_is_used(run: RunConfig) -> Iterator[Issue]:
    if run.samples_source is not None and run.samples_every is None:
        yield Issue("samples_source", "is only used with samples_every", ("samples_source", "samples_every"))
