"""A patch embedding that learns from nothing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import nn

from skyeye.errors import SkyEyeError


class ConvStem(nn.Module):
    """Patch embedding by stacked 3x3 convolutions of stride 2, for towers that learn from nothing.

    It learns small shapes far sooner than one large convolution (Xiao et al., "Early convolutions help transformers see
    better", 2021). Takes the place of timm's PatchEmbed; the patch size is a power of two.
    """

    def __init__(self, img_size: int, patch_size: int, in_chans: int, embed_dim: int, **_: Any):
        super().__init__()
        steps = int(math.log2(patch_size))
        if 2**steps != patch_size:
            raise SkyEyeError(f"patch size {patch_size} is not a power of two", where="model.vision.stem: conv")
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        widths = [in_chans, *(max(embed_dim // 2 ** (steps - 1 - i), 32) for i in range(steps - 1)), embed_dim]
        layers: list[nn.Module] = []
        for width, following in itertools.pairwise(widths):
            layers += [nn.Conv2d(width, following, 3, stride=2, padding=1), nn.GroupNorm(8, following), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-2])

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(N, in_chans, S, S) -> (N, patches, embed_dim) in raster order."""
        return self.layers(pixel_values).flatten(2).transpose(1, 2)

    def dynamic_feat_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of the patches; timm asks for it where levels are read."""
        return self.grid_size
