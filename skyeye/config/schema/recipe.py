"""The whole YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field

from skyeye.config.paths import PathText
from skyeye.config.schema.data import SourceConfig
from skyeye.config.schema.evaluation import EvalConfig
from skyeye.config.schema.model import ModelConfig
from skyeye.config.schema.run import RunConfig
from skyeye.config.schema.stage import StageConfig


@dataclass
class Recipe:
    """A whole run: model, data, stages, run, eval. One YAML file."""

    name: str
    output_dir: PathText
    stages: list[StageConfig]
    sources: dict[str, SourceConfig]
    seed: int = 42
    model: ModelConfig = field(default_factory=ModelConfig)
    run: RunConfig = field(default_factory=RunConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    @property
    def folder(self) -> str:
        """Folder of the run."""
        return self.run.dir or self.output_dir
