"""Any timm model by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import nn

from skyeye.errors import SkyEyeError
from skyeye.models.vision.levels import has_blocks, resolve_layers
from skyeye.models.vision.stem import ConvStem


def build_timm(vision: Mapping[str, Any]) -> tuple[nn.Module, tuple[int, ...] | None]:
    """A timm model without pooling and head, and its levels; without the blocks behind the highest of them.

    timm builds all blocks, with their pretrained weights where ``arguments`` ask for them; the surplus is let go then.

    Raises:
        SkyEyeError: timm has no such model or argument, or levels are asked of a model without blocks of one width.
    """
    backbone = _create(vision)
    if hasattr(backbone, "head"):
        backbone.head = nn.Identity()
    if vision["layers"] is None:
        return backbone, None
    if not has_blocks(backbone):
        raise SkyEyeError(
            f"{type(backbone).__name__} has no blocks of one width and one grid to take levels from",
            where="model.vision.layers",
            remedy="leave layers out: the last output is used; or choose a plain vision transformer",
        )
    layers = resolve_layers(vision["layers"], len(backbone.blocks))
    backbone.blocks = backbone.blocks[: max(layers)]
    if not vision["level_norm"]:
        backbone.norm = nn.Identity()
    return backbone, layers


def _create(vision: Mapping[str, Any]) -> nn.Module:
    name = vision["name"]
    if not timm.is_model(name) and not name.startswith(("hf_hub:", "hf-hub:", "local-dir:")):
        close = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        raise SkyEyeError(
            f"timm has no model {name!r}",
            where="model.vision.name",
            remedy=f"for instance {', '.join(close)}" if close else "see timm.list_models()",
        )
    # No pooling and no head: a norm or layer that only they use would never get a gradient.
    arguments = {"num_classes": 0, "global_pool": "", **(vision["arguments"] or {})}
    if torch.empty(0).is_meta:  # for planning: nothing is fetched
        arguments.pop("pretrained", None)
    if vision["stem"] == "conv":
        arguments["embed_layer"] = ConvStem
    try:
        try:
            return timm.create_model(name, img_size=vision["image_size"], **arguments)
        except TypeError as error:
            if "'img_size'" not in str(error):
                raise
            return timm.create_model(name, **arguments)  # a convolutional net takes any image size
    except (TypeError, ValueError, AssertionError) as error:
        raise SkyEyeError(str(error) or type(error).__name__, where="model.vision.arguments") from error
