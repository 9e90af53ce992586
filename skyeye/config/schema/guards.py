"""``run.guards``: what a run does about losses that break away, broken samples and processes that hang."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class GuardsConfig:
    """When a run helps itself, and when it stops (docs/engine.md). All values are ours."""

    window: int = 50  # last good steps that a loss and a gradient norm are compared with, once there are as many
    loss_factor: float | None = 10.0  # above this x their median a step changes no weight; null: only if not finite
    norm_factor: float | None = 50.0
    patience: int = 10  # such steps in a row after which the run goes back to an earlier state
    lead: int = 20  # steps before the first of them that are skipped with them
    max_rewinds: int = 3  # how often it goes back in a stage before it stops
    max_broken: float = 0.01  # share of samples that cannot be used (of at least 1000) above which it stops
    hang_seconds: float | None = 1800.0  # time without a finished step after which all stacks are written down
    hang_abort: bool = False  # end the process then
