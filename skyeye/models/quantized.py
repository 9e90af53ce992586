"""Weights in 8 and 4 bits, through bitsandbytes: of a language model that is asked, and in 4 bits of one whose
adapters are trained (QLoRA)."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from skyeye.errors import SkyEyeError
from skyeye.models.mapped import give_back_heap

#: Weights in 8 and 4 bits, as ``--dtype`` names them, and their bytes each with all scales.
BYTES = {"int8": 1.0, "int4": 0.516}
#: The library rounds to 4 bits in blocks of so many weights, and its products on a CPU want whole ones.
BLOCK = 64


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


def quantizable(language_model: PreTrainedModel) -> set[str]:
    """The names of the weights of its linear layers, but for its head, that are whole blocks.

    Head and embeddings stay as they are: they choose the words, and are often one tensor.
    """
    head = language_model.get_output_embeddings()
    layers = {name: layer for name, layer in language_model.named_modules() if type(layer) is nn.Linear}
    return {
        f"{name}.weight"
        for name, layer in layers.items()
        if layer is not head and ".lora_" not in name and not (layer.in_features % BLOCK or layer.out_features % BLOCK)
    }


def check_available(kind: str) -> None:
    """Refuse weights in 8 or 4 bits without the library for them.

    Raises:
        SkyEyeError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise SkyEyeError(
            f"{kind} needs the package bitsandbytes", where="--dtype", remedy='pip install "bitsandbytes>=0.50"'
        )


def put_quantized(
    model: nn.Module, layer: str, weight: torch.Tensor, kind: str, dtype: torch.dtype, device: torch.device | str
) -> None:
    """Put a linear layer whose weight is held in 8 or 4 bits in the place of another one.

    Args:
        layer: name of the layer in the model; a bias that it has stays.
        weight: (out, in), of any floating-point type.
        kind: ``int8`` (a scale for each row) or ``int4`` (NF4, doubly quantised scales).
        dtype: precision of the products.
    """
    from bitsandbytes.nn import Int8Params, Params4bit

    weight = weight.to(dtype).contiguous()
    if kind == "int8":
        value = Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        value = Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
    value = value.to(device)  # which quantises it, there
    put_layer(model, layer, value, kind, dtype)
    del weight, value
    give_back_heap()


def put_layer(model: nn.Module, layer: str, value: nn.Parameter, kind: str, dtype: torch.dtype) -> None:
    """Put a linear layer with a weight that is quantised already in the place of another one, whose bias stays."""
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    parent_name, _, leaf = layer.rpartition(".")
    before = model.get_submodule(layer)
    size = before.in_features, before.out_features
    with torch.device("meta"):  # its own weight is never made
        if kind == "int8":
            after = Linear8bitLt(*size, bias=False, has_fp16_weights=False)
        else:
            after = Linear4bit(*size, bias=False, compute_dtype=dtype, quant_type="nf4", compress_statistics=True)
    after.weight = value
    after.bias = before.bias
    setattr(model.get_submodule(parent_name), leaf, after)
