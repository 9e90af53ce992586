"""QLoRA: a language model whose frozen weights are held in 4 bits (NF4), through bitsandbytes."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from skyeye.errors import SkyEyeError


def check_quantization() -> None:
    """Refuse 4-bit weights where they cannot be had.

    Raises:
        SkyEyeError: says what is missing, CUDA or bitsandbytes.
    """
    missing = []
    if not torch.cuda.is_available():
        missing.append("a CUDA GPU")
    if find_spec("bitsandbytes") is None:
        missing.append("the package bitsandbytes (pip install bitsandbytes)")
    if missing:
        raise SkyEyeError(
            f"weights in 4 bits need {' and '.join(missing)}",
            where="model.language.quantize",
            remedy="leave it out and hold the frozen base in 16 bits: run.frozen=bf16",
        )


def quantization_arguments() -> dict[str, Any]:
    """What ``from_pretrained`` of transformers is told: NF4 with doubly quantised scales, products in bfloat16; on the
    GPU of this process, which has not been made the current one yet."""
    check_quantization()
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": int(os.environ.get("LOCAL_RANK") or 0)}}


def save_dequantized(model: PreTrainedModel) -> None:
    """Let ``state_dict`` give the 16-bit values that the 4-bit weights stand for, so that an export is a plain model.

    These are the weights that the adapters were trained beside; the original ones would be others.
    """
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    def plain(layer: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
        for name in [name for name in state if name.startswith(f"{prefix}weight.")]:
            del state[name]
        state[f"{prefix}weight"] = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(torch.bfloat16)

    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            layer.register_state_dict_post_hook(plain)
