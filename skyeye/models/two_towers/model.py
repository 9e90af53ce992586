"""The model: a vision tower, a text tower, a projection of each, a temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from skyeye.config.schema import AdapterConfig, ModelConfig, TextConfig, Trainable, VisionConfig
from skyeye.errors import SkyEyeError
from skyeye.models.two_towers.adapter import SharedAdapter, put_beside
from skyeye.models.two_towers.pooling import AttentionPooling, TokenPooling
from skyeye.models.two_towers.text import TextTower
from skyeye.models.vision import VisionShape, VisionTower, vision_shape
from skyeye.models.vision.levels import has_blocks

#: CLIP's: the temperature begins at 1 / 0.07, and logits are not scaled by more than 100.
_FIRST_SCALE, _LARGEST_SCALE = math.log(1 / 0.07), math.log(100)


@strict
class TwoTowersConfig(PreTrainedConfig):
    """Sizes of both towers.

    Args:
        vision: fields of :class:`skyeye.config.schema.VisionConfig`.
        text: fields of :class:`skyeye.config.schema.TextConfig`.
        end_token_id: see :class:`~skyeye.models.two_towers.text.TextTower`.
    """

    model_type = "skyeye_two_towers"

    vision: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    end_token_id: int | None = None

    def __post_init__(self, **kwargs):
        self.vision = asdict(VisionConfig(**(self.vision or {})))
        text = dict(self.text or {})
        adapter = text.pop("adapter", None)
        self.text = asdict(TextConfig(**text, adapter=None if adapter is None else AdapterConfig(**adapter)))
        super().__post_init__(**kwargs)

    @classmethod
    def of(cls, model: ModelConfig, vocab_size: int | None = None, end_token_id: int | None = None) -> TwoTowersConfig:
        """That of a recipe's model section.

        Args:
            vocab_size: of a tokenizer that says its own.
        """
        text = {**asdict(model.text), "weights": None} | ({} if vocab_size is None else {"vocab_size": vocab_size})
        return cls(vision={**asdict(model.vision), "weights": None}, text=text, end_token_id=end_token_id)


class Projections(nn.Module):
    """What brings both sides into one space, and how sharp nearness is there.

    Args:
        shape: of the vision tower.
        text: fields of :class:`skyeye.config.schema.TextConfig`.

    Attributes:
        logit_scale: the logarithm of the factor on cosines.
    """

    def __init__(self, shape: VisionShape, text: Mapping[str, Any]):
        super().__init__()
        embedding = text["embedding"]
        self.image: TokenPooling | AttentionPooling
        if text["pooling"] == "attention":
            if shape.prefix_tokens:
                what = "is that of CLIP's ResNets, and the tower has a class token"
                raise SkyEyeError(what, where="model.text.pooling", remedy="set it to token")
            self.image = AttentionPooling(shape.width, embedding, shape.tokens)
        else:
            self.image = TokenPooling(shape.width, embedding, bool(shape.prefix_tokens))
        self.text = nn.Linear(text["width"], embedding, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(_FIRST_SCALE))

    def scale(self) -> torch.Tensor:
        """The factor on cosines."""
        return self.logit_scale.clamp(max=_LARGEST_SCALE).exp()


class TwoTowers(PreTrainedModel):
    """A CLIP. Its parts are ``vision_tower``, ``text_tower``, ``projector`` and, where asked for, ``adapter``.

    What a picture is to the texts: ``model.text.pooling``.
    """

    config_class = TwoTowersConfig
    config: TwoTowersConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    _supports_sdpa = True

    def __init__(self, config: TwoTowersConfig):
        super().__init__(config)
        shape = vision_shape(config.vision)
        text = config.text
        self.vision_tower = VisionTower(config.vision)
        self.text_tower = TextTower(text, config.end_token_id)
        self.projector = Projections(shape, text)
        self.adapter = self._adapter(shape, text)
        self.post_init()
        self.set_trainable(vision="full", projector="full", text="full")

    def _adapter(self, shape: VisionShape, text: Mapping[str, Any]) -> SharedAdapter | None:
        if text["adapter"] is None:
            return None
        if not has_blocks(self.vision_tower.backbone):
            remedy = "leave it out, or choose a plain vision transformer"
            raise SkyEyeError("the vision tower has no blocks for it", where="model.text.adapter", remedy=remedy)
        adapter = SharedAdapter(max(shape.width, text["width"]), **text["adapter"])
        put_beside(adapter, [*self.vision_tower.backbone.blocks, *self.text_tower.blocks])
        return adapter

    def init_weights(self) -> None:
        """Nothing: every part has initialised itself."""

    def _init_weights(self, module: nn.Module) -> None:
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()

    def set_trainable(self, *, vision: Trainable, projector: Trainable, text: Trainable) -> None:
        """Decide which parameters get gradients; the only place that does. An adapter always does."""
        parts = {"vision": self.vision_tower, "projector": self.projector, "text": self.text_tower}
        self._trained = {"vision": vision == "full", "projector": projector == "full", "text": text == "full"}
        for name, part in parts.items():
            part.requires_grad_(self._trained[name])
        self.train(self.training)

    def train(self, mode: bool = True) -> TwoTowers:
        super().train(mode)
        for name, tower in (("vision", self.vision_tower), ("text", self.text_tower)):
            if not self._trained[name]:
                tower.eval()  # the adapter, which stands beside it, keeps its dropout
        return self

    def embed_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) normalised pixels -> (N, embedding), of length 1."""
        return functional.normalize(self.projector.image(self.vision_tower(pixel_values)), dim=-1)

    def embed_texts(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(N, T) ids -> (N, embedding), of length 1."""
        return functional.normalize(self.projector.text(self.text_tower(input_ids)), dim=-1)

    def scale(self) -> torch.Tensor:
        """The factor on cosines."""
        return self.projector.scale()

    def forward(self, pixel_values: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        """(N, M) logits of N pictures and M texts."""
        return self.scale() * self.embed_images(pixel_values) @ self.embed_texts(input_ids).T


AutoConfig.register(TwoTowersConfig.model_type, TwoTowersConfig)
