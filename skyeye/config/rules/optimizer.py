"""Rules of ``stages[].optimizer``."""

from __future__ import annotations

from collections.abc import Iterator

from skyeye.config.issue import Issue
from skyeye.config.rules.registry import below, rule
from skyeye.config.schema import OptimizerConfig

PARTS = ("vision", "projector", "language")


@rule(OptimizerConfig)
def rates_are_not_negative(optimizer: OptimizerConfig) -> Iterator[Issue]:
    yield from below(optimizer, 0, "lr", "min_lr", "warmup_lr", "warmup_steps", "weight_decay")


@rule(OptimizerConfig)
def betas_are_below_one(optimizer: OptimizerConfig) -> Iterator[Issue]:
    for i, beta in enumerate(optimizer.betas):
        if not 0 <= beta < 1:
            yield Issue("betas", f"{beta} is not in 0 <= beta < 1", (f"betas[{i}]",))


@rule(OptimizerConfig)
def clipping_is_above_zero(optimizer: OptimizerConfig) -> Iterator[Issue]:
    if optimizer.clip_norm is not None and optimizer.clip_norm <= 0:
        yield Issue("clip_norm", f"{optimizer.clip_norm} is not above 0 (null: no clipping)", ("clip_norm",))


@rule(OptimizerConfig)
def rates_are_given_for_parts_that_exist(optimizer: OptimizerConfig) -> Iterator[Issue]:
    for part in optimizer.part_lr:
        if part not in PARTS:
            message = f"{part!r} is no part; there are {', '.join(PARTS)}"
            yield Issue("part_lr", message, (f"part_lr.{part}",))


@rule(OptimizerConfig)
def factors_of_parts_are_above_zero(optimizer: OptimizerConfig) -> Iterator[Issue]:
    for part, factor in optimizer.part_lr.items():
        if part in PARTS and factor <= 0:
            message = f"{factor} for {part} is not above 0 (a part that rests is frozen in its stage)"
            yield Issue("part_lr", message, (f"part_lr.{part}",))


@rule(OptimizerConfig)
def the_decay_of_averages_is_between_zero_and_one(optimizer: OptimizerConfig) -> Iterator[Issue]:
    if optimizer.ema_decay is not None and not 0 < optimizer.ema_decay < 1:
        yield Issue("ema_decay", f"{optimizer.ema_decay} is not between 0 and 1", ("ema_decay",))
