"""Published CLIP models as a whole, and ours: names of both sides, their projections and the temperature.

========================== ===========================================================================================
layout                     what its names begin with
========================== ===========================================================================================
open_clip, OpenAI          ``visual.``; the text side stands beside it (``transformer.``, ``token_embedding``) or under
                           ``text.``; ``module.`` before everything where a trainer wrote the file
GeoRSCLIP's older files    ``image_backbone.`` and ``text_backbone.``
CLIP's ResNets             the same, with ``visual.layer1.`` ... and ``visual.attnpool.``
transformers               ``vision_model.`` and ``text_model.``, ``visual_projection`` and ``text_projection``
GRAFT                      the vision side of transformers behind ``satellite_image_backbone.``, no text side; its own
                           ``projector.``, which brings patches into the space, and its temperature are left out
========================== ===========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

_TEXT = {
    "token_embedding": "embeddings.token_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final": "final_layer_norm",
}
_TEXT_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
#: What older files hold besides weights: sizes, and the causal mask.
_NO_WEIGHTS = re.compile(r"(input_resolution|context_length|vocab_size|attn_mask|.*\.position_ids)$")
_ATTENTION = "visual.attnpool."
_GRAFT = "satellite_image_backbone."
_POOLING = {"positional_embedding": "positions", "q_proj": "query", "k_proj": "key", "v_proj": "value", "c_proj": "out"}


def split_sides(
    found: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], list[str]]:
    """The tensors of a published CLIP.

    Returns:
        Those of the vision tower, by their own names (for :func:`skyeye.models.vision.weights.fitted`); those of the
        text tower and of the projections, by the names of :class:`skyeye.models.two_towers.TwoTowers`; and the names of
        what are no weights.
    """
    theirs = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    dropped = [name for name in theirs if _NO_WEIGHTS.match(name)]
    if any(name.startswith(_GRAFT) for name in theirs):
        dropped += [name for name in theirs if not name.startswith(_GRAFT)]
    theirs = {_today(name): tensor for name, tensor in theirs.items() if name not in dropped}
    vision, rest = {}, {}
    for name, tensor in theirs.items():
        of_tower = name.startswith(("visual.", "vision_model.")) and not name.startswith(("visual.proj", _ATTENTION))
        (vision if of_tower else rest)[name] = tensor
    return vision, _ours(rest), dropped


def _today(name: str) -> str:
    """The name that today's files have in the place of an older one."""
    name = re.sub(r"^image_backbone\.", "visual.", name.removeprefix(_GRAFT))
    return re.sub(r"^text(_backbone)?\.(?=transformer|token_emb|positional|ln_final|text_projection)", "", name)


def _ours(theirs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in theirs.items():
        if match := re.match(r"transformer\.resblocks\.(\d+)\.(.+)", name):
            tensors |= _block(f"text_tower.backbone.encoder.layers.{match[1]}.", match[2], tensor)
        elif name.startswith("text_model."):
            tensors["text_tower.backbone." + name.removeprefix("text_model.")] = tensor
        else:
            tensors |= _other(name, tensor)
    return tensors


def _block(opening: str, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a block of open_clip's text side; queries, keys and values are one matrix there."""
    if match := re.fullmatch(r"attn\.in_proj_(weight|bias)", name):
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{opening}self_attn.{part}_proj.{match[1]}": piece for part, piece in parts}
    return {opening + _renamed(name, _TEXT_BLOCK): tensor}


def _other(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    projections = {"visual.proj": "image", "text_projection": "text"}
    if name in projections:  # (width, embedding), no linear layer's layout
        return {f"projector.{projections[name]}.weight": tensor.T}
    if name in ("visual_projection.weight", "text_projection.weight"):
        return {f"projector.{'image' if name.startswith('visual') else 'text'}.weight": tensor}
    if name.startswith(_ATTENTION):
        return {f"projector.image.{_renamed(name.removeprefix(_ATTENTION), _POOLING)}": tensor}
    if name == "logit_scale":
        return {"projector.logit_scale": tensor}
    known = _renamed(name, _TEXT)
    return {name if known == name else f"text_tower.backbone.{known}": tensor}


def _renamed(name: str, table: Mapping[str, str]) -> str:
    known = next((theirs for theirs in table if name == theirs or name.startswith(f"{theirs}.")), None)
    return name if known is None else table[known] + name[len(known) :]
