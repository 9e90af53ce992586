"""``eval``: the held-out scores of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skyeye.config.paths import PathText


@dataclass
class EvalConfig:
    """Which held-out scores ``skyeye eval`` gives for this recipe when it is not told otherwise, and which are taken
    while it is trained."""

    benchmarks: list[str] = field(default_factory=list)
    data_root: PathText | None = None
    limit: int | None = None  # samples per benchmark
    batch_size: int = 32
    prompts: dict[str, str] = field(default_factory=dict)  # benchmark -> what is asked instead of its own prompt
    missing_images: Literal["skip", "stop"] = "skip"
    every: int | None = None  # steps after which the benchmarks are scored in training; None: never
    every_limit: int | None = 200  # samples per benchmark then
    choose: str | None = None  # benchmark/metric: the best model by it is exported as <stage>-best
