"""LoRA in the names of tensors: which weight an adapter belongs to, and the weight with the adapter in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

#: Of a checkpoint that leaves out its language model: its adapters, as PEFT reads them.
ADAPTERS = "adapter_model.safetensors"
_ADAPTER = re.compile(r"(.+)\.lora_(A|B|magnitude_vector)(?:\.default)?(?:\.weight)?")
_OPENING = "language_model.base_model.model."


def plain_name(name: str) -> str:
    """The name of a tensor as if the model had no adapters; of an adapter's own the layer and ``.lora_A``, ``.lora_B``
    or ``.lora_magnitude_vector``."""
    name = name.replace(_OPENING, "language_model.", 1) if name.startswith(_OPENING) else name
    found = _ADAPTER.fullmatch(name)
    if found:
        return f"{found[1]}.lora_{found[2]}"
    return name.replace(".base_layer.", ".")


def peft_name(name: str) -> str:
    """The name of an adapter's tensor in a file of PEFT's, of its name in a model of PEFT's."""
    return re.sub(r"\.(lora_[AB]|lora_magnitude_vector)\.default\b", r".\1", name).removesuffix(
        ".weight" if ".lora_magnitude_vector" in name else ""
    )


def merged(
    tensors: Mapping[str, torch.Tensor], lora: Mapping[str, Any] | None
) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """(name, tensor, its original) of every tensor that is no adapter, adapters added to their weights in float32.

    Args:
        tensors: by :func:`plain_name`.
        lora: the fields of :class:`skyeye.config.schema.LoraConfig`; None: there are no adapters.
    """
    for name, tensor in tensors.items():
        if ".lora_" in name:
            continue
        layer = name.removesuffix(".weight")
        if lora is None or f"{layer}.lora_B" not in tensors or layer == name:
            yield name, tensor, tensor
            continue
        down, up = (tensors[f"{layer}.lora_{part}"].float() for part in "AB")
        scale = lora["alpha"] / (lora["r"] ** 0.5 if lora.get("variant") == "rslora" else lora["r"])
        weight = tensor.float() + (up @ down) * scale
        magnitude = tensors.get(f"{layer}.lora_magnitude_vector")
        if magnitude is not None:  # DoRA: the adapter changes the direction, the magnitude is learnt by itself
            weight = weight * (magnitude.float() / weight.norm(dim=1)).unsqueeze(1)
        yield name, weight, tensor


def without_adapters(module: nn.Module) -> None:
    """Take the adapters of all layers below ``module`` out, whatever they add."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLayer):
                setattr(parent, name, child.get_base_layer())


def unwrapped(language_model: nn.Module) -> nn.Module:
    """The language model inside PEFT's wrapper."""
    return language_model.base_model.model if isinstance(language_model, PeftModel) else language_model
