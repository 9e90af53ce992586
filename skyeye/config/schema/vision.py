"""``model.vision``: the tower that sees an image, or one of several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from skyeye.config.paths import PathText


@dataclass
class VisionConfig:
    """Vision tower. ``eva``: the EVA-CLIP layout of the reference; ``clip``: that of OpenAI's CLIP; ``timm``: any timm
    model, by name."""

    architecture: Literal["eva", "clip", "timm"] = "eva"
    name: str | None = None  # timm model name, with architecture: timm
    image_size: int = 448
    patch_size: int = 14
    width: int = 1408
    depth: int = 39
    heads: int = 16
    mlp_ratio: float = 4.3637
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"  # of clip: quick_gelu where OpenAI's weights began it
    # of clip: what its first block makes of a fixed input, as the log says when weights are read; others, or another
    # activation, are refused
    fingerprint: list[float] | None = None
    stem: Literal["patch", "conv"] = "patch"  # conv: stacked convolutions instead of one, to learn from scratch (ours)
    layers: list[int] | None = None  # hidden states as Hugging Face counts them: [-2], [8, 16, 24]; null: the last
    level_norm: bool = False  # the tower's final norm also stands behind the levels in layers
    arguments: dict[str, Any] = field(default_factory=dict)  # further keyword arguments for timm
    weights: PathText | None = None  # file in the layout of eva_vit_g.pth (or of the timm model); CLIP's file or folder
    # how a position table of another grid is stretched: bicubic (reference); corners: with align_corners (GeoChat);
    # antialias: as open_clip does
    position_resize: Literal["bicubic", "corners", "antialias"] = "bicubic"
    # to a square: stretch (reference); pad: on a square of the mean colour; crop: the middle, by the shorter side
    resize: Literal["stretch", "pad", "crop"] = "stretch"
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
