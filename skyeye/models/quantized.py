"""Weights in 8 and 4 bits, through bitsandbytes: of a language model that is asked, and in 4 bits of one whose
adapters are trained (QLoRA)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
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
#: Weights that are rounded at a time: on the way the library makes several copies of them in float32.
SLAB = 1 << 20


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
    rounded = _in_8_bits if kind == "int8" else _in_4_bits
    value = rounded(_slabs(weight, dtype, device), weight.shape, device)
    put_layer(model, layer, value, kind, dtype)
    give_back_heap()


def _slabs(weight: torch.Tensor, dtype: torch.dtype, device: torch.device | str) -> Iterator[torch.Tensor]:
    """Some rows after others, as they would be held unquantised."""
    for rows in weight.split(max(1, SLAB // weight.shape[1])):
        yield rows.to(dtype).contiguous().to(device)


def _in_8_bits(slabs: Iterable[torch.Tensor], shape: torch.Size, device: torch.device | str) -> nn.Parameter:
    """What ``Int8Params.to(device)`` makes of all rows at once: each row has its own scale."""
    from bitsandbytes.functional import int8_vectorwise_quant
    from bitsandbytes.nn import Int8Params

    held, scales, at = torch.empty(shape, dtype=torch.int8, device=device), [], 0
    for rows in slabs:
        held[at : at + len(rows)], scale, _ = int8_vectorwise_quant(rows.to(torch.float16))
        scales.append(scale)
        at += len(rows)
    value = Int8Params(held, requires_grad=False, has_fp16_weights=False)
    value.CB, value.SCB = value.data, torch.cat(scales)
    return value


def _in_4_bits(slabs: Iterable[torch.Tensor], shape: torch.Size, device: torch.device | str) -> nn.Parameter:
    """What ``Params4bit.to(device)`` makes of all rows at once: a block lies within a row, and the scales of all blocks
    are rounded together."""
    from bitsandbytes.functional import QuantState, get_4bit_type, quantize_4bit, quantize_blockwise
    from bitsandbytes.nn import Params4bit

    held = torch.empty((shape.numel() // 2, 1), dtype=torch.uint8, device=device)
    scales, at, dtype = [], 0, None
    for rows in slabs:
        few, state = quantize_4bit(rows, blocksize=BLOCK, compress_statistics=False, quant_type="nf4")
        held[at : at + len(few)] = few
        scales.append(state.absmax)
        at, dtype = at + len(few), rows.dtype
    largest = torch.cat(scales)
    offset = largest.mean()
    few_scales, second = quantize_blockwise(largest - offset, blocksize=256)
    state = QuantState(
        few_scales, shape, get_4bit_type("nf4", device=device), BLOCK, "nf4", dtype, offset=offset, state2=second
    )
    return Params4bit(held, requires_grad=False, quant_state=state, quant_type="nf4", bnb_quantized=True)


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
