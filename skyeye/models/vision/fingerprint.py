"""What the first block of a tower makes of a fixed input: tells QuickGELU from GELU where no tensor of a file does.

It depends on the weights of that block and on its activation, on neither pixels nor positions, so that it is the same
at any size of the picture. A recipe holds it as ``model.vision.fingerprint``; it is logged whenever weights are read.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from skyeye.errors import SkyEyeError
from skyeye.models.vision.tower import VisionTower

logger = logging.getLogger(__name__)
_TOKENS, _NUMBERS = 8, 8
#: What rounding may change; the two activations differ by a hundredth and more.
_CLOSE = 1e-3
_ACTIVATIONS = {"quick_gelu": "gelu", "gelu": "quick_gelu"}


def activation_fingerprint(block: nn.Module, width: int) -> list[float]:
    """Eight numbers of the last of eight tokens behind a block, for tokens that are waves; in float32.

    Args:
        block: (1, tokens, width) -> the same shape.
    """
    waves = torch.sin(0.37 * torch.arange(_TOKENS * width, dtype=torch.float32)).reshape(1, _TOKENS, width)
    with torch.no_grad():
        out = copy.deepcopy(block).float().cpu().eval()(2.0 * waves)
    return [round(float(number), 5) for number in out[0, -1, :_NUMBERS]]


def check_fingerprint(tower: VisionTower, path: str | Path) -> None:
    """Hold the fingerprint of a tower that has its weights against the recipe's, where it has one; log it.

    Raises:
        SkyEyeError: they differ: the activation is the other one, or the weights are.
    """
    blocks = getattr(tower.backbone, "blocks", None)
    if not blocks or tower.settings["architecture"] != "clip":
        return
    width, activation = tower.settings["width"], tower.settings["activation"]
    found, stored = activation_fingerprint(blocks[0], width), tower.settings["fingerprint"]
    logger.info("%s: fingerprint with %s: %s", path, activation, found)
    if stored is None or _same(found, stored):
        return
    other = _ACTIVATIONS[activation]
    with_other = VisionTower({**tower.settings, "activation": other, "depth": 1, "layers": None, "level_norm": False})
    with_other.backbone.blocks[0].load_state_dict(blocks[0].state_dict())
    if _same(activation_fingerprint(with_other.backbone.blocks[0], width), stored):
        what = f"these weights were trained with {other}, the recipe says {activation}"
        raise SkyEyeError(what, where=str(path), remedy=f"set model.vision.activation: {other}")
    what = f"are other weights than the recipe's fingerprint is of: {found}"
    raise SkyEyeError(
        what, where=str(path), remedy="give the file that it is of, or leave model.vision.fingerprint out"
    )


def _same(found: Sequence[float], stored: Sequence[float]) -> bool:
    largest = max(1.0, *map(abs, found))
    return len(found) == len(stored) and all(abs(a - b) <= _CLOSE * largest for a, b in zip(found, stored, strict=True))
