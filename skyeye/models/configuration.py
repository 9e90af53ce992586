"""Configuration of a skyeye model, in Hugging Face shape."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from skyeye.config.kinds import make_section
from skyeye.config.schema import ProjectorConfig, VisionConfig
from skyeye.errors import SkyEyeError
from skyeye.models.vision import VisionShape, vision_shape


@strict
class SkyEyeConfig(PreTrainedConfig):
    """The three parts of a model and how they are joined.

    Args:
        vision: fields of :class:`skyeye.config.schema.VisionConfig`; what is missing is EVA-CLIP-g at 448 px.
        projector: fields of one of :data:`skyeye.config.schema.ProjectorConfig`, the one that ``type`` says.
        text_config: configuration of the language model, any causal one that transformers knows.
        lora: fields of :class:`skyeye.config.schema.LoraConfig`; None builds no adapters.
        image_token_id: stands in ``input_ids`` where an image token belongs. Not a word of the vocabulary.
    """

    model_type = "skyeye"
    sub_configs_defaults = {"text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama")}

    vision: dict[str, Any] | None = None
    projector: dict[str, Any] | None = None
    text_config: dict | PreTrainedConfig | None = None
    lora: dict[str, Any] | None = None
    image_token_id: int = -1

    def __post_init__(self, **kwargs):
        self.vision = asdict(VisionConfig(**(self.vision or {})))
        self.projector = asdict(make_section(ProjectorConfig, self.projector or {}))
        attention = getattr(self.text_config, "_attn_implementation", None)
        super().__post_init__(**kwargs)
        self.text_config._attn_implementation = attention  # the line above clears what was chosen for this part

    @property
    def vision_shape(self) -> VisionShape:
        """Tokens per image before joining, prefix tokens, and their width."""
        return vision_shape(self.vision)

    @property
    def tokens_per_image(self) -> int:
        """Places an image takes in ``input_ids``: vision tokens divided by ``join_tokens``."""
        tokens, joined = self.vision_shape.tokens, self.projector["join_tokens"]
        if tokens % joined:
            raise SkyEyeError(
                f"{tokens} vision tokens cannot be joined {joined} at a time",
                where="model.projector.join_tokens",
                remedy=f"choose a divisor of {tokens}",
            )
        return tokens // joined

    @property
    def token_grid(self) -> tuple[int, int]:
        """(rows, columns) of the image tokens: joining makes them ``join_tokens`` cells wide."""
        side, joined = math.isqrt(self.vision_shape.tokens), self.projector["join_tokens"]
        if side * side != self.vision_shape.tokens or side % joined:
            raise SkyEyeError(
                f"{self.vision_shape.tokens} vision tokens joined {joined} at a time do not form a grid",
                where="model.projector.join_tokens",
            )
        return side, side // joined


AutoConfig.register(SkyEyeConfig.model_type, SkyEyeConfig)
