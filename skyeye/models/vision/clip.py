"""The vision tower of CLIP, by its sizes: OpenAI's, and everything that was trained on from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from skyeye.models.vision.levels import resolve_layers


def build_clip(vision: Mapping[str, Any]) -> tuple[VisionTransformer, tuple[int, ...] | None]:
    """A CLIP tower without projection, as deep as its highest level; and its levels.

    Its final norm (``ln_post``) stands behind the last output and behind levels that ask for it, behind no others.
    """
    layers = resolve_layers(vision["layers"], vision["depth"])
    backbone = VisionTransformer(
        img_size=vision["image_size"],
        patch_size=vision["patch_size"],
        embed_dim=vision["width"],
        depth=vision["depth"] if layers is None else max(layers),
        num_heads=vision["heads"],
        mlp_ratio=vision["mlp_ratio"],
        pre_norm=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        act_layer=vision["activation"],
        num_classes=0,
        global_pool="",
    )
    if layers is not None and not vision["level_norm"]:
        backbone.norm = nn.Identity()
    return backbone, layers
