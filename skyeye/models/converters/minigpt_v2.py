"""The checkpoint format of the reference runner (MiniGPT-v2, ``SkyEyeGPT.pth``): its names, its content.

The reference stores what it trained, adapters and projection, under its own names and an older PEFT's. Names are
compared in one canonical spelling, so both PEFT styles are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from skyeye.data.files import whole_file
from skyeye.models.language import is_adapter

#: Our name of a part -> the reference's.
_PARTS = (
    ("vision_tower.backbone.", "visual_encoder."),
    ("vision_norm.", "ln_vision."),
    ("projector.linear.", "llama_proj."),
    ("language_model.", "llama_model."),
)

#: Hidden sizes by which a language model is recognised, and input widths of the projection likewise.
_LANGUAGE_MODELS = {4096: "LLaMA-2-7B", 5120: "LLaMA-2-13B", 8192: "LLaMA-2-70B"}
_VISION_INPUTS = {1408: "EVA-CLIP-g, tokens not joined", 5632: "EVA-CLIP-g, 4 tokens joined"}


def reference_name(name: str) -> str:
    """The reference's name of one of our tensors (``...q_proj.base_layer.weight`` -> ``...q_proj.weight``)."""
    for ours, theirs in _PARTS:
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
    return canonical(name)


def our_name(name: str) -> str:
    """Our name of one of the reference's tensors, in either spelling of PEFT."""
    name = canonical(name)
    for ours, theirs in _PARTS:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def canonical(name: str) -> str:
    """One spelling for names that PEFT versions and wrappers spell differently."""
    name = name.removeprefix("module.").replace(".base_layer.", ".").replace(".lm_head.0.", ".lm_head.")
    return re.sub(r"\.(lora_[AB]|lora_magnitude_vector)\.default\.", r".\1.", name)


def is_trained(name: str) -> bool:
    """Whether the reference trains, and therefore stores, the tensor of this reference name."""
    return is_adapter(name) or name.startswith(("llama_proj.", "projector."))


def write_reference(target: Path, tensors: Mapping[str, torch.Tensor], configuration: dict[str, Any]) -> None:
    """Write a ``.pth`` file that the reference's runner loads, whole or not at all.

    Args:
        tensors: by canonical reference name.
        configuration: what the file tells about the model.
    """
    # PEFT 0.2 keeps the output head in a Sequential; everything else has its canonical name there.
    named = {name.replace(".lm_head.", ".lm_head.0."): tensor.clone() for name, tensor in tensors.items()}
    content = {"model": named, "optimizer": None, "config": configuration, "scaler": None, "epoch": 0}
    with whole_file(target) as file:
        torch.save(content, file)


def projection(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> str | None:
    """Which parts a checkpoint was made for, read off its projection; None when it has none of the reference's kind.

    Args:
        tensors: (canonical reference name, shape) of its tensors.
    """
    for name, shape in tensors:
        if name == "llama_proj.weight":
            language = _LANGUAGE_MODELS.get(shape[0], "a language model")
            vision = _VISION_INPUTS.get(shape[1], "a vision tower")
            return f"{language} (hidden size {shape[0]}) behind {vision} (input width {shape[1]})"
    return None


def adapter_rank(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> int | None:
    """Rank of the LoRA adapters among (name, shape) pairs; None without adapters."""
    return next((shape[0] for name, shape in tensors if ".lora_A." in name), None)


def advice(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> str:
    """What to do about tensors of another model.

    Args:
        ours: of the model here, by its names.
        theirs: of the checkpoint, by canonical reference name.
    """
    found = [(name, tuple(tensor.shape)) for name, tensor in theirs.items()]
    here = [(reference_name(name), tuple(tensor.shape)) for name, tensor in ours.items()]
    advised = []
    if projection(found) and projection(found) != projection(here):
        advised.append(f"this checkpoint is for {projection(found)}; the model here has {projection(here)}")
    if adapter_rank(found) != adapter_rank(here):
        advised.append(
            f"its adapters have rank {adapter_rank(found)}, the model's {adapter_rank(here)}: see model.lora.r"
        )
    return "; ".join(advised) or "build the model that the checkpoint was trained with"
