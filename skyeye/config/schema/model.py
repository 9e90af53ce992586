"""``model``: the parts of a model."""

from __future__ import annotations

from dataclasses import dataclass, field

from skyeye.config.paths import PathText
from skyeye.config.schema.contrastive import RetrievalConfig, TextConfig
from skyeye.config.schema.language import LanguageConfig, LoraConfig, TokenizerConfig
from skyeye.config.schema.projector import LinearProjectorConfig, ProjectorConfig
from skyeye.config.schema.prompt import PromptConfig
from skyeye.config.schema.vision import VisionConfig


@dataclass
class ModelConfig:
    """The parts of a model. Several towers look at the same image; their features are joined (see docs/models.md)."""

    vision: VisionConfig | list[VisionConfig] = field(default_factory=VisionConfig)
    vision_norm: bool = True  # the reference's ln_vision: a layer norm that is never trained, before the projector
    projector: ProjectorConfig = field(default_factory=LinearProjectorConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    text: TextConfig | None = None  # two towers and no language model: RemoteCLIP and its like
    retrieval: RetrievalConfig | None = None  # captions and pictures are also found by each other: RS-CapRet
    checkpoint: PathText | None = None  # start from this skyeye or reference checkpoint

    @property
    def towers(self) -> list[VisionConfig]:
        """The section of each tower."""
        return self.vision if isinstance(self.vision, list) else [self.vision]
