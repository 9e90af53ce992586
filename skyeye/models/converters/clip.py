"""Published names of vision transformers, and timm's: CLIP and SigLIP of transformers, and open_clip's CLIP.

========================== ===========================================================================================
layout                     what its names begin with
========================== ===========================================================================================
transformers               ``vision_model.``, with anything before it (``model.vision_tower.vision_tower.``), or nothing
open_clip, OpenAI          ``visual.``, with ``module.`` before it where a trainer wrote the file; text side beside it
GeoRSCLIP's older files    ``image_backbone.`` instead of ``visual.``
GRAFT                      as transformers, behind ``satellite_image_backbone.``; its ``projector.`` is left out
CLIP's ResNets (S-CLIP)    ``visual.layer1.`` ...; for timm's ``resnet50_clip``, without the pooling by attention
========================== ===========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from skyeye.errors import SkyEyeError
from skyeye.models.weights import read_json_object

#: transformers' name -> timm's; of the blocks, behind ``encoder.layers.N.`` and ``blocks.N.``.
_TRANSFORMERS = {
    "embeddings.class_embedding": "cls_token",
    "embeddings.patch_embedding.weight": "patch_embed.proj.weight",
    "embeddings.patch_embedding.bias": "patch_embed.proj.bias",
    "embeddings.position_embedding.weight": "pos_embed",
    "pre_layrnorm": "norm_pre",
    "post_layernorm": "norm",
}
_TRANSFORMERS_BLOCK = {"layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj"}
_OPEN_CLIP = {
    "class_embedding": "cls_token",
    "conv1.weight": "patch_embed.proj.weight",
    "positional_embedding": "pos_embed",
    "ln_pre": "norm_pre",
    "ln_post": "norm",
}
_OPEN_CLIP_BLOCK = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.in_proj_weight": "attn.qkv.weight",
    "attn.in_proj_bias": "attn.qkv.bias",
    "attn.out_proj": "attn.proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_PATCHES = "embeddings.patch_embedding.weight"  # every tower of transformers has it
_HEADS = ("proj", "head.")  # of open_clip and of SigLIP: what only pooled features pass


def timm_tensors(found: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors of a tower by timm's names, and the names that are of no tower (text side, projections).

    Tensors in a layout that is not in the table above come back as they are.
    """
    theirs = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    theirs = {re.sub(r"^image_backbone\.", "visual.", name): tensor for name, tensor in theirs.items()}
    patches = next((name for name in theirs if name.endswith(_PATCHES)), None)
    if patches is not None:
        opening, names, block = re.escape(patches.removesuffix(_PATCHES)), _TRANSFORMERS, _TRANSFORMERS_BLOCK
    elif any(name.startswith("visual.layer1.") for name in theirs):
        return _resnet(theirs)
    elif any(name.startswith("visual.") for name in theirs):
        opening, names, block = r"visual\.", _OPEN_CLIP, _OPEN_CLIP_BLOCK
    else:
        return dict(found), []
    tensors: dict[str, torch.Tensor] = {}
    others: list[str] = []
    for name, tensor in theirs.items():
        match = re.match(opening, name)
        own = name[match.end() :] if match else ""
        if match is None or own.startswith(_HEADS) or own == "embeddings.position_ids":
            others.append(name)
        else:
            tensors[_timm_name(own, names, block)] = tensor
    return _shaped(_joined(tensors)), others


def _resnet(theirs: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """CLIP's ResNets: stem, blocks of three convolutions, shortcuts."""
    kinds = {"1": "conv1_1x1", "2": "conv2_kxk", "3": "conv3_1x1"}
    tensors, others = {}, []
    for name, tensor in theirs.items():
        if not name.startswith("visual.") or name.startswith("visual.attnpool."):
            others.append(name)
            continue
        own = re.sub(r"^visual\.(conv|bn)(\d)\.", r"stem.conv\2.\1.", name)
        if match := re.fullmatch(r"visual\.layer(\d)\.(\d+)\.(.+)", own):
            block = f"stages.{int(match[1]) - 1}.{match[2]}."
            rest = re.sub(r"^(conv|bn)(\d)\.", lambda m: f"{kinds[m[2]]}.{m[1]}.", match[3])
            rest = re.sub(r"^downsample\.(0|1)\.", lambda m: f"shortcut.conv.{'conv' if m[1] == '0' else 'bn'}.", rest)
            own = block + rest
        tensors[own] = tensor
    return tensors, others


def hugging_face_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a CLIP tower, by timm's names, in the layout of transformers (``vision_model...``)."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        own = re.sub(r"^blocks\.", "encoder.layers.", name)
        for theirs, ours in (*_TRANSFORMERS.items(), *_TRANSFORMERS_BLOCK.items()):
            own = re.sub(rf"(^|(?<=\.)){re.escape(ours)}(?=\.|$)", theirs, own, count=1)
        if ".attn.qkv." in own:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                found["vision_model." + own.replace(".attn.qkv.", f".self_attn.{part}_proj.")] = piece
        else:
            found["vision_model." + own] = tensor.squeeze(0) if name in ("cls_token", "pos_embed") else tensor
    found["vision_model.embeddings.class_embedding"] = tensors["cls_token"].flatten()
    return {name: tensor.contiguous() for name, tensor in found.items()}


def tower_section(folder: Path) -> dict[str, Any]:
    """What ``config.json`` beside a tower's weights says, as fields of :class:`skyeye.config.schema.VisionConfig`.

    Raises:
        SkyEyeError: it describes no CLIP tower.
    """
    config = read_json_object(folder / "config.json")
    vision = config.get("vision_config", config)
    names = {"hidden_size": "width", "num_hidden_layers": "depth", "num_attention_heads": "heads"}
    names |= {"image_size": "image_size", "patch_size": "patch_size", "hidden_act": "activation"}
    if "clip" not in str(vision.get("model_type", config.get("model_type"))) or not isinstance(vision, dict):
        what = f"describes a model of type {str(config.get('model_type'))[:40]!r}, no CLIP tower"
        raise SkyEyeError(what, where=str(folder / "config.json"), remedy="give the folder of a CLIP vision tower")
    said = {**_DEFAULTS, **vision}
    section = {ours: said[theirs] for theirs, ours in names.items()}
    return {**section, "mlp_ratio": said["intermediate_size"] / said["hidden_size"], "architecture": "clip"}


#: Of transformers, which writes only what differs.
_DEFAULTS = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_DEFAULTS |= {"image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu"}


def refuse_other_tower(folder: Path, vision: Mapping[str, Any]) -> None:
    """Hold what ``config.json`` beside a tower's weights says of it against the section of a recipe: its activation and
    number of heads show in no tensor.

    Raises:
        SkyEyeError: they differ.
    """
    theirs = tower_section(folder)
    for name in ("activation", "heads"):
        if vision[name] != theirs[name]:
            raise SkyEyeError(
                f"these weights were trained with {name} {theirs[name]}, the recipe says {vision[name]}",
                where=str(folder),
                remedy=f"set model.vision.{name}: {theirs[name]}",
            )


def _timm_name(name: str, names: Mapping[str, str], block: Mapping[str, str]) -> str:
    match = re.match(r"(?:encoder\.layers|transformer\.resblocks)\.(\d+)\.(.+)", name)
    opening, rest, table = (f"blocks.{match[1]}.", match[2], block) if match else ("", name, names)
    known = next((theirs for theirs in table if rest == theirs or rest.startswith(f"{theirs}.")), None)
    return opening + (rest if known is None else table[known] + rest[len(known) :])


def _joined(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Queries, keys and values of a block as one matrix, in this order."""
    joined = {name: tensor for name, tensor in tensors.items() if ".self_attn." not in name}
    for name in (name for name in tensors if ".self_attn.q_proj." in name):
        parts = [name.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
        if all(part in tensors for part in parts):
            joined[name.replace(".self_attn.q_proj.", ".attn.qkv.")] = torch.cat([tensors[part] for part in parts])
    return joined


def _shaped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for name in ("cls_token", "pos_embed"):
        if name in tensors:
            tensors[name] = tensors[name].reshape(1, -1, tensors[name].shape[-1])
    return tensors
