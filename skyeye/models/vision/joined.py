"""``model.vision`` as one tower or as a list of towers whose features are joined."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from skyeye.errors import SkyEyeError
from skyeye.models.vision.pixels import split_pixels
from skyeye.models.vision.tower import VisionShape, VisionTower, tower_shape

#: The fields of :class:`skyeye.config.schema.VisionConfig` of the tower, or of each of several.
Vision = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class JoinedTowers(nn.Module):
    """Several towers that look at the same picture; their patch tokens are joined on the feature axis.

    Class and register tokens are dropped. Where grids differ, all are brought to the largest one, bilinearly
    (``F.interpolate``, ``align_corners=False``); a tower whose grid is the largest passes unchanged.

    Args:
        visions: the fields of :class:`skyeye.config.schema.VisionConfig` of each tower.
    """

    num_prefix_tokens = 0

    def __init__(self, visions: Sequence[Mapping[str, Any]]):
        super().__init__()
        self.towers = nn.ModuleList(VisionTower(vision) for vision in visions)
        self.sizes = [vision["image_size"] for vision in visions]

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(N, values) pixels of all towers, see :mod:`skyeye.models.vision.pixels` -> (N, tokens, joined width)."""
        parts = split_pixels(pixel_values, self.sizes)
        seen = [tower.patches(part) for tower, part in zip(self.towers, parts, strict=True)]
        side = max(_side(tokens.shape[1]) for tokens in seen)
        return torch.cat([resize_tokens(tokens, side) for tokens in seen], dim=2)

    def patches(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The same: no prefix tokens are left."""
        return self(pixel_values)

    @property
    def dtype(self) -> torch.dtype:
        """The finest precision of the towers."""
        precision = self.towers[0].dtype
        for tower in self.towers[1:]:
            precision = torch.promote_types(precision, tower.dtype)
        return precision

    def half_weights(self) -> None:
        """See :meth:`VisionTower.half_weights`."""
        for tower in self.towers:
            tower.half_weights()


def build_tower(vision: Vision) -> VisionTower | JoinedTowers:
    """The tower of a model, or its towers, with fresh weights."""
    return VisionTower(vision) if isinstance(vision, Mapping) else JoinedTowers(vision)


def vision_shape(vision: Vision) -> VisionShape:
    """Number and widths of the tokens, found by running the tower on the meta device: no weights, no arithmetic."""
    if isinstance(vision, Mapping):
        return tower_shape(vision)
    shapes = [tower_shape(one) for one in vision]
    side = max(_side(shape.tokens) for shape in shapes)
    return VisionShape(side * side, 0, tuple(width for shape in shapes for width in shape.widths))


def resize_tokens(tokens: torch.Tensor, side: int) -> torch.Tensor:
    """(N, n * n, width) tokens of a square grid in raster order -> (N, side * side, width), bilinearly."""
    old = _side(tokens.shape[1])
    if old == side:
        return tokens
    grid = tokens.transpose(1, 2).unflatten(2, (old, old))
    grid = F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False)
    return grid.flatten(2).transpose(1, 2)


def _side(tokens: int) -> int:
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise SkyEyeError(
            f"the {tokens} tokens of a tower form no square grid, so they cannot be joined with another tower's",
            where="model.vision",
            remedy="choose towers with square grids, or one tower",
        )
    return side
