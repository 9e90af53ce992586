"""The common face of all vision towers: pixels in, levels of tokens out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from skyeye.errors import SkyEyeError
from skyeye.models.vision.clip import build_clip
from skyeye.models.vision.eva import build_eva
from skyeye.models.vision.levels import read_levels
from skyeye.models.vision.timm import build_timm

#: Kind of tower (``model.vision.architecture``) -> what builds its backbone and tells its levels, counted from 0.
KINDS = {"eva": build_eva, "clip": build_clip, "timm": build_timm}


@dataclass(frozen=True)
class VisionShape:
    """What is made of an image: ``prefix_tokens`` (class, register), ``tokens`` in raster order, the width of each
    level; levels lie side by side on the feature axis."""

    tokens: int
    prefix_tokens: int
    widths: tuple[int, ...]

    @property
    def width(self) -> int:
        """Of all levels together."""
        return sum(self.widths)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the tokens; tokens that form no square stand in one row."""
        side = math.isqrt(self.tokens)
        return (side, side) if side * side == self.tokens else (1, self.tokens)


class VisionTower(nn.Module):
    """A backbone without head that gives the tokens of an image, at its last output or at several levels.

    Args:
        vision: the fields of :class:`skyeye.config.schema.VisionConfig`; kept as ``settings``.
    """

    def __init__(self, vision: Mapping[str, Any]):
        super().__init__()
        self.backbone, self.layers = KINDS[vision["architecture"]](vision)
        self.num_prefix_tokens: int = getattr(self.backbone, "num_prefix_tokens", 0)
        self.level_norm: bool = vision["level_norm"]
        self.settings = vision

    @property
    def towers(self) -> list[VisionTower]:
        """Itself, as the only one: what :class:`~skyeye.models.vision.joined.JoinedTowers` calls its parts."""
        return [self]

    def levels(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, S, S) pixels -> for each level (N, prefix + tokens, width), prefix tokens first."""
        if self.layers is None:
            return [self._last_output(pixel_values)]
        return read_levels(self.backbone, pixel_values, self.layers, self.level_norm)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) pixels -> (N, prefix + tokens, width), levels side by side, prefix tokens first."""
        levels = self.levels(pixel_values)
        return levels[0] if len(levels) == 1 else torch.cat(levels, dim=2)

    def patches(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) pixels -> (N, tokens, width): without the prefix."""
        return self(pixel_values)[:, self.num_prefix_tokens :]

    @property
    def dtype(self) -> torch.dtype:
        """Precision the tower takes its pixels in."""
        return next(self.backbone.parameters()).dtype

    def half_weights(self) -> None:
        """The reference's half precision for CUDA: convolutions and linear layers in float16, the rest in float32.

        Embeddings, q/v biases and norms stay exact. Run it under ``torch.autocast("cuda", torch.float16)``.
        """
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.half()

    def _last_output(self, pixel_values: torch.Tensor) -> torch.Tensor:
        features = self.backbone.forward_features(pixel_values)
        if not isinstance(features, torch.Tensor) or features.ndim not in (3, 4):
            raise SkyEyeError(
                f"{type(self.backbone).__name__} gives neither tokens nor a feature map",
                where="model.vision.name",
                remedy="choose a model whose forward_features returns one tensor",
            )
        if features.ndim == 3:
            return features
        channels_last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"
        return features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)


def tower_shape(vision: Mapping[str, Any]) -> VisionShape:
    """Of one tower; see :func:`skyeye.models.vision.vision_shape`."""
    return _probe(json.dumps(dict(vision), sort_keys=True, default=list))


@lru_cache(maxsize=16)
def _probe(vision_json: str) -> VisionShape:
    vision = json.loads(vision_json)
    vision["arguments"] = {k: v for k, v in (vision.get("arguments") or {}).items() if k != "pretrained"}
    with torch.device("meta"):
        tower = VisionTower(vision).eval()
        size = vision["image_size"]
        try:
            levels = tower.levels(torch.empty(1, 3, size, size))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
            what = f"the tower takes no images of {size} x {size} pixels: {reason}"
            raise SkyEyeError(what, where="model.vision.image_size", remedy="choose another size") from error
    tokens = levels[0].shape[1] - tower.num_prefix_tokens
    return VisionShape(tokens, tower.num_prefix_tokens, tuple(level.shape[2] for level in levels))
