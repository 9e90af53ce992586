"""The EVA-CLIP layout of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.models.eva import Eva

from skyeye.models.vision.levels import resolve_layers


def build_eva(vision: Mapping[str, Any]) -> tuple[Eva, tuple[int, ...] | None]:
    """An EVA tower without final norm and head, as deep as its highest level; and its levels."""
    depth = vision["depth"]
    layers = resolve_layers(vision["layers"], depth)
    backbone = Eva(
        img_size=vision["image_size"],
        patch_size=vision["patch_size"],
        embed_dim=vision["width"],
        depth=depth if layers is None else max(layers),
        num_heads=vision["heads"],
        mlp_ratio=vision["mlp_ratio"],
        qkv_bias=True,
        num_classes=0,
        global_pool="",
        use_post_transformer_norm=False,
        use_fc_norm=False,
        **(vision["arguments"] or {}),
    )
    return backbone, layers
