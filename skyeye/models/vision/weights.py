"""Published weights into a tower: strictly, and with what it does not use named in the log."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from timm.models.eva import Eva
from torch.nn import functional as F

from skyeye.data.hub import local_path
from skyeye.errors import SkyEyeError
from skyeye.models.converters.clip import refuse_other_tower, timm_tensors
from skyeye.models.mapped import folder_weights, give_back_pages, put_tensor
from skyeye.models.vision.fingerprint import check_fingerprint
from skyeye.models.vision.tower import VisionTower
from skyeye.models.weights import differences, read_tensors, shapes

logger = logging.getLogger(__name__)

#: EVA-CLIP parameters beyond the tower's depth: the reference uses neither the last block nor the final norm or head.
_EVA_SURPLUS = re.compile(r"(norm|head)\.|blocks\.(\d+)\.")


def load_vision_weights(
    tower: VisionTower, path: str | Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> None:
    """Put published weights into a tower.

    Args:
        dtype: precision they are held in; None: that of the tower.
        device: that they are put on.

    Raises:
        SkyEyeError: as :func:`tower_tensors`.
    """
    own = tower.dtype
    for name, tensor in tower_tensors(tower, path).items():
        if put_tensor(tower.backbone, name, tensor, dtype or own, device).data_ptr() != tensor.data_ptr():
            give_back_pages(tensor)
    check_fingerprint(tower, path)


def tower_tensors(tower: VisionTower, path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of published weights by the names of a tower's backbone, mapped; the tower may be empty.

    Args:
        path: a file, or a folder with ``config.json`` as transformers writes it, by path or by a name on the hub; in
            timm's names or in a layout of :mod:`skyeye.models.converters.clip`.

    Dropped by rule, and logged: the head; of an EVA file the final norm and the blocks beyond the tower's depth; where
    levels are read, of any file the blocks behind the highest level, and the final norm where no level has it.
    A position embedding of another grid is resized, and logged.

    Raises:
        SkyEyeError: there are none, or those of a tower with another activation; keys are missing, unexpected or
            mis-shaped: all of them are named.
    """
    return fitted(tower, _read(tower, path), path)


def fitted(tower: VisionTower, published: Mapping[str, torch.Tensor], path: str | Path) -> dict[str, torch.Tensor]:
    """As :func:`tower_tensors`, of tensors that were read from ``path``."""
    backbone = tower.backbone
    expected = shapes(backbone.state_dict())
    found, dropped = timm_tensors(published)
    dropped += [name for name in found if name not in expected and _is_surplus(name, tower)]
    found = {name: tensor for name, tensor in found.items() if name not in dropped}
    if dropped:
        logger.info("%s: not used by this tower: %d tensors of %s", path, len(dropped), ", ".join(_parents(dropped)))
    name = "pos_embed"
    if name in expected and name in found and found[name].shape[1] != expected[name][1]:
        prefix = 0 if getattr(backbone, "no_embed_class", False) else tower.num_prefix_tokens
        logger.info("%s: position embedding resized %d -> %d tokens", path, found[name].shape[1], expected[name][1])
        how = tower.settings["position_resize"]
        found[name] = resize_position_embedding(found[name], expected[name][1], prefix, how)
    problems = differences(expected, shapes(found))
    if problems:
        raise SkyEyeError(
            "; ".join(problems),
            where=str(path),
            remedy="these weights are of another vision tower: check model.vision width, depth, heads and patch_size",
        )
    return found


def resize_position_embedding(
    embedding: torch.Tensor,
    tokens: int,
    prefix_tokens: int = 1,
    how: Literal["bicubic", "corners", "antialias"] = "bicubic",
) -> torch.Tensor:
    """Resize a square grid of position embeddings, bicubically and in float32.

    Args:
        embedding: (1, prefix_tokens + n * n, width).
        tokens: length of the result, prefix included.
        how: ``bicubic`` is the reference's; ``corners``: the outermost positions stay where they are, as in GeoChat;
            ``antialias``: as open_clip does.

    Returns:
        (1, tokens, width) float32; the prefix is kept as it is.
    """
    prefix, grid = embedding.float().split([prefix_tokens, embedding.shape[1] - prefix_tokens], dim=1)
    old, new = math.isqrt(grid.shape[1]), math.isqrt(tokens - prefix_tokens)
    if old * old != grid.shape[1] or new * new != tokens - prefix_tokens:
        raise SkyEyeError(f"position embeddings of {grid.shape[1]} and {tokens - prefix_tokens} tokens are not square")
    grid = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    size, corners, smooth = (new, new), how == "corners", how == "antialias"
    grid = F.interpolate(grid, size=size, mode="bicubic", align_corners=corners, antialias=smooth)
    return torch.cat([prefix, grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def _read(tower: VisionTower, path: str | Path) -> dict[str, torch.Tensor]:
    folder = local_path(str(path))
    if folder is None and not Path(path).suffix:
        what = "no such weights: neither a path nor a name of the hub that was downloaded"
        raise SkyEyeError(what, where=str(path), remedy=f"hf download {path}, or give the path of its folder")
    if folder is None or not folder.is_dir():
        return read_tensors(folder or path)
    if tower.settings["architecture"] == "clip":
        refuse_other_tower(folder, tower.settings)
    return folder_weights(folder)


def _is_surplus(name: str, tower: VisionTower) -> bool:
    backbone = tower.backbone
    match = _EVA_SURPLUS.match(name)
    block_behind = match is not None and match[2] is not None and int(match[2]) >= len(getattr(backbone, "blocks", ()))
    if isinstance(backbone, Eva):
        return block_behind or (match is not None and match[1] is not None)
    if tower.layers is not None and (block_behind or name.startswith("norm.")):
        return True
    classifier = (getattr(backbone, "pretrained_cfg", None) or {}).get("classifier") or "head"
    names = classifier if isinstance(classifier, list | tuple) else [classifier]
    return name.startswith(tuple(f"{part}." for part in (*names, "head", "fc_norm")))


def _parents(names: list[str]) -> list[str]:
    """``blocks.39`` for its parameters, the first word of any other name: what a log line has room for."""
    return sorted({re.match(r"(blocks\.\d+|[^.]+)", name)[1] for name in names})
