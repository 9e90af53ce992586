"""Vision tower: the EVA-CLIP layout of the reference, or any timm model by name."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.eva import Eva
from torch import nn
from torch.nn import functional as F

from skyeye.errors import SkyEyeError
from skyeye.models.weights import differences, read_tensors, shapes

logger = logging.getLogger(__name__)

#: EVA-CLIP parameters beyond the tower's depth: the reference uses neither the last block nor the final norm or head.
_EVA_SURPLUS = re.compile(r"(norm|head)\.|blocks\.(\d+)\.")


@dataclass(frozen=True)
class VisionShape:
    """What a tower gives of an image: ``prefix_tokens`` (class, register), ``tokens`` in raster order, their width."""

    tokens: int
    prefix_tokens: int
    width: int


class VisionTower(nn.Module):
    """A timm backbone without head that gives the tokens of an image.

    Args:
        vision: the fields of :class:`skyeye.config.schema.VisionConfig`.
    """

    def __init__(self, vision: Mapping[str, Any]):
        super().__init__()
        self.backbone = _build_backbone(vision)
        self.num_prefix_tokens: int = getattr(self.backbone, "num_prefix_tokens", 0)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) pixels -> (N, prefix + tokens, width), prefix tokens first."""
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


def vision_shape(vision: Mapping[str, Any]) -> VisionShape:
    """Number and width of the tokens, found by running the tower on the meta device: no weights, no arithmetic."""
    return _probe(json.dumps(dict(vision), sort_keys=True, default=list))


@lru_cache(maxsize=16)
def _probe(vision_json: str) -> VisionShape:
    vision = json.loads(vision_json)
    vision["arguments"] = {k: v for k, v in (vision.get("arguments") or {}).items() if k != "pretrained"}
    with torch.device("meta"):
        tower = VisionTower(vision).eval()
        size = vision["image_size"]
        tokens = tower(torch.empty(1, 3, size, size))
    return VisionShape(tokens.shape[1] - tower.num_prefix_tokens, tower.num_prefix_tokens, tokens.shape[2])


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
        for width, following in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Conv2d(width, following, 3, stride=2, padding=1), nn.GroupNorm(8, following), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-2])

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(N, in_chans, S, S) -> (N, patches, embed_dim) in raster order."""
        return self.layers(pixel_values).flatten(2).transpose(1, 2)


def _build_backbone(vision: Mapping[str, Any]) -> nn.Module:
    arguments = dict(vision.get("arguments") or {})
    if vision["stem"] == "conv":
        arguments["embed_layer"] = ConvStem
    if vision["architecture"] == "eva":
        return Eva(
            img_size=vision["image_size"],
            patch_size=vision["patch_size"],
            embed_dim=vision["width"],
            depth=vision["depth"],
            num_heads=vision["heads"],
            mlp_ratio=vision["mlp_ratio"],
            qkv_bias=True,
            num_classes=0,
            global_pool="",
            use_post_transformer_norm=False,
            use_fc_norm=False,
            **arguments,
        )
    name = vision["name"]
    if not timm.is_model(name) and not name.startswith(("hf_hub:", "hf-hub:", "local-dir:")):
        close = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        raise SkyEyeError(
            f"timm has no model {name!r}",
            where="model.vision.name",
            remedy=f"for instance {', '.join(close)}" if close else "see timm.list_models()",
        )
    # No pooling and no head: a norm or layer that only they use would never get a gradient.
    arguments = {"num_classes": 0, "global_pool": "", **arguments}
    try:
        try:
            backbone = timm.create_model(name, img_size=vision["image_size"], **arguments)
        except TypeError as error:
            if "'img_size'" not in str(error):
                raise
            backbone = timm.create_model(name, **arguments)  # a convolutional net takes any image size
    except TypeError as error:
        raise SkyEyeError(str(error), where="model.vision.arguments") from error
    if hasattr(backbone, "head"):
        backbone.head = nn.Identity()
    return backbone


def resize_position_embedding(embedding: torch.Tensor, tokens: int, prefix_tokens: int = 1) -> torch.Tensor:
    """Resize a square grid of position embeddings as the reference does: float32, bicubic, no antialias.

    Args:
        embedding: (1, prefix_tokens + n * n, width).
        tokens: length of the result, prefix included.

    Returns:
        (1, tokens, width) float32; the prefix is kept as it is.
    """
    prefix, grid = embedding.float().split([prefix_tokens, embedding.shape[1] - prefix_tokens], dim=1)
    old, new = math.isqrt(grid.shape[1]), math.isqrt(tokens - prefix_tokens)
    if old * old != grid.shape[1] or new * new != tokens - prefix_tokens:
        raise SkyEyeError(f"position embeddings of {grid.shape[1]} and {tokens - prefix_tokens} tokens are not square")
    grid = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False, antialias=False)
    return torch.cat([prefix, grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def load_vision_weights(tower: VisionTower, path: str | Path) -> None:
    """Load published weights into a tower, strictly, in the tower's own precision.

    Dropped by rule, and logged: the head, and of an EVA file the final norm and the blocks beyond the tower's depth.
    A position embedding of another grid is resized, and logged.

    Raises:
        SkyEyeError: keys are missing, unexpected or mis-shaped; all of them are named.
    """
    backbone = tower.backbone
    expected = shapes(backbone.state_dict())
    found = read_tensors(path)
    dropped = [name for name in found if name not in expected and _is_surplus(name, backbone)]
    found = {name: tensor for name, tensor in found.items() if name not in dropped}
    if dropped:
        logger.info("%s: not used by this tower: %d tensors of %s", path, len(dropped), ", ".join(_parents(dropped)))
    name = "pos_embed"
    if name in expected and name in found and found[name].shape[1] != expected[name][1]:
        prefix = 0 if getattr(backbone, "no_embed_class", False) else tower.num_prefix_tokens
        logger.info("%s: position embedding resized %d -> %d tokens", path, found[name].shape[1], expected[name][1])
        found[name] = resize_position_embedding(found[name], expected[name][1], prefix)
    problems = differences(expected, shapes(found))
    if problems:
        raise SkyEyeError(
            "; ".join(problems),
            where=str(path),
            remedy="these weights are of another vision tower: check model.vision width, depth, heads and patch_size",
        )
    backbone.load_state_dict(found, strict=True)


def _is_surplus(name: str, backbone: nn.Module) -> bool:
    if not isinstance(backbone, Eva):
        classifier = (backbone.pretrained_cfg or {}).get("classifier") or "head"
        names = classifier if isinstance(classifier, list | tuple) else [classifier]
        return name.startswith(tuple(f"{part}." for part in (*names, "head", "fc_norm")))
    match = _EVA_SURPLUS.match(name)
    return match is not None and (match[1] is not None or int(match[2]) >= len(backbone.blocks))


def _parents(names: list[str]) -> list[str]:
    """``blocks.39`` for its parameters, the first word of any other name: what a log line has room for."""
    return sorted({re.match(r"(blocks\.\d+|[^.]+)", name)[1] for name in names})
