"""The typed shape of a recipe. One dataclass per YAML section; defaults are the reference's where it has one.

Nothing heavy is imported here: a recipe with a typing mistake is refused before torch is loaded. Rules that types do
not say stand in :mod:`skyeye.config.rules`.
"""

from __future__ import annotations

from skyeye.config.schema.contrastive import AdapterConfig, RetrievalConfig, TextConfig
from skyeye.config.schema.data import MixtureEntry, Sampling, SourceConfig
from skyeye.config.schema.evaluation import EvalConfig
from skyeye.config.schema.guards import GuardsConfig
from skyeye.config.schema.language import LanguageConfig, LoraConfig, TokenizerConfig
from skyeye.config.schema.model import ModelConfig
from skyeye.config.schema.optimizer import OptimizerConfig
from skyeye.config.schema.projector import (
    LinearProjectorConfig,
    MLPProjectorConfig,
    NovaPoolerProjectorConfig,
    PoolerProjectorConfig,
    ProjectorConfig,
    QFormerProjectorConfig,
)
from skyeye.config.schema.prompt import PromptConfig, Style
from skyeye.config.schema.recipe import Recipe
from skyeye.config.schema.run import RunConfig
from skyeye.config.schema.stage import AlignmentConfig, LanguageKind, StageConfig, Trainable
from skyeye.config.schema.vision import VisionConfig

__all__ = [
    "AdapterConfig",
    "AlignmentConfig",
    "EvalConfig",
    "GuardsConfig",
    "LanguageConfig",
    "LanguageKind",
    "LinearProjectorConfig",
    "LoraConfig",
    "MLPProjectorConfig",
    "MixtureEntry",
    "ModelConfig",
    "NovaPoolerProjectorConfig",
    "OptimizerConfig",
    "PoolerProjectorConfig",
    "ProjectorConfig",
    "PromptConfig",
    "QFormerProjectorConfig",
    "Recipe",
    "RetrievalConfig",
    "RunConfig",
    "Sampling",
    "SourceConfig",
    "StageConfig",
    "Style",
    "TextConfig",
    "TokenizerConfig",
    "Trainable",
    "VisionConfig",
]
