"""What a run hands to its stages, and what a stage trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator

from skyeye.config.schema import EvalConfig
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.objective import TrainingObjective
from skyeye.models.processing import SkyEyeProcessor
from skyeye.train.checkpoint.ema import MovingAverage
from skyeye.train.guards.interrupt import Interrupt
from skyeye.train.monitor.trackers import Tracker
from skyeye.train.setup import RunSetup


class Evaluator(Protocol):
    """What a run asks the benchmarks with; it comes from the rooms that know them (``skyeye.eval.in_training``)."""

    def __call__(self, model: Any, processor: Any, out_dir: Path, about: dict[str, Any]) -> dict[str, float] | None:
        """All processes call it together; ``benchmark/metric`` -> value in process 0, None in the others."""

    @property
    def better(self) -> Callable[[float, float], bool]:
        """Whether the first of two values of ``eval.choose`` is the better one."""


@dataclass(frozen=True)
class RunContext:
    """What all stages of a run share.

    Attributes:
        folder: of the run.
        recipe_yaml: the recipe as resolved, for whoever reads an export.
        model, processor: with what the stages so far have made of them.
        evaluation: the section ``eval``.
        evaluator: scores its benchmarks; None: none are scored in training.
        interrupt: what was asked of this process from outside.
        tracker: of the process that writes; None without.
    """

    folder: Path
    recipe_yaml: str
    setup: RunSetup
    model: SkyEyeForConditionalGeneration
    processor: SkyEyeProcessor
    evaluation: EvalConfig
    evaluator: Evaluator | None
    interrupt: Interrupt
    tracker: Tracker | None


@dataclass(frozen=True)
class Prepared:
    """What a stage trains, as its strategy has prepared it.

    Attributes:
        objective: in the wrappers of the strategy: what is called.
        average: of what is trained, where the stage keeps one.
    """

    accelerator: Accelerator
    objective: torch.nn.Module
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None = None

    @cached_property  # it goes through all modules, and every state asks several times
    def plain_objective(self) -> TrainingObjective:
        """The objective without wrappers."""
        return self.accelerator.unwrap_model(self.objective)

    @property
    def model(self) -> SkyEyeForConditionalGeneration:
        """What is saved, sampled and evaluated."""
        return self.plain_objective.model
