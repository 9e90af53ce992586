"""Weights in 8 and 4 bits in files: what bitsandbytes keeps beside a weight, found among the tensors of a folder.

Names are those that the library gives: ``LAYER.weight`` with ``LAYER.SCB`` (8 bits, a scale for each row), or with
``LAYER.weight.absmax``, ``.quant_map``, ``.nested_absmax``, ``.nested_quant_map`` and ``.quant_state.*`` (4 bits).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from skyeye.errors import SkyEyeError
from skyeye.models.quantized import check_available, put_layer

_SCALES = ".SCB"
_STATE = ".weight.quant_state."
#: Layout of the rows, which is always the same one.
CONSTANT = ".weight_format"


@dataclass(frozen=True)
class Packed:
    """The weight of one linear layer.

    Attributes:
        kind: ``int8`` or ``int4``.
        shape: (out, in), of the weight that is meant.
        weight: its bytes.
        beside: scales and what else belongs to it, by the library's names.
    """

    kind: str
    shape: torch.Size
    weight: torch.Tensor
    beside: Mapping[str, torch.Tensor]


def is_packed(names: Iterable[str]) -> bool:
    """Whether there are weights in 8 or 4 bits among tensors of these names."""
    return any(name.endswith(_SCALES) or _STATE in name for name in names)


def refuse_packed(packed: bool, where: Path) -> None:
    """Refuse a checkpoint that can only be asked.

    Raises:
        SkyEyeError: its language model is held in 8 or 4 bits.
    """
    if packed:
        what = "its language model is held in 8 or 4 bits, to be asked and nothing else"
        raise SkyEyeError(what, where=str(where), remedy="use the checkpoint that it was exported from")


def take_packed(tensors: dict[str, torch.Tensor], where: Path) -> dict[str, Packed]:
    """The weights in 8 and 4 bits by name; in their places stand tensors without memory, of the shapes that are meant.

    Args:
        tensors: of a folder, by :func:`~skyeye.models.adapters.plain_name`; what belongs to such a weight is taken out.

    Raises:
        SkyEyeError: a part of one is missing or damaged, or bitsandbytes is not installed.
    """
    layers = {name.removesuffix(_SCALES): "int8" for name in tensors if name.endswith(_SCALES)}
    layers |= {name.split(_STATE)[0]: "int4" for name in tensors if _STATE in name}
    for kind in set(layers.values()):
        check_available(kind)
    packed = {}
    for layer, kind in layers.items():
        name = f"{layer}.weight"
        opening = f"{name}." if kind == "int4" else f"{layer}."
        ends = (_SCALES[1:],) if kind == "int8" else None
        beside = {
            other.removeprefix(opening): tensors[other]
            for other in list(tensors)
            if other.startswith(opening) and (ends is None or other.endswith(ends))
        }
        for other in beside:
            del tensors[opening + other]
        tensors.pop(layer + CONSTANT, None)
        packed[name] = _checked(kind, tensors.get(name), beside, f"{where}: {name}")
        tensors[name] = torch.empty(packed[name].shape, dtype=torch.float32, device="meta")
    return packed


def _checked(kind: str, weight: torch.Tensor | None, beside: Mapping[str, torch.Tensor], where: str) -> Packed:
    whole = weight is not None and weight.dtype == (torch.int8 if kind == "int8" else torch.uint8)
    if whole and kind == "int8":
        shape = weight.shape
        whole = weight.dim() == 2 and beside["SCB"].numel() == len(weight)
    elif whole:
        shape = _shape_of(beside)
        whole = shape is not None and weight.numel() * 2 == shape.numel() and "absmax" in beside
    if not whole:
        raise SkyEyeError(
            f"is no weight in {kind}: a part is missing or damaged", where=where, remedy="export it again"
        )
    return Packed(kind, shape, weight, beside)


def _shape_of(beside: Mapping[str, torch.Tensor]) -> torch.Size | None:
    """(out, in) as the library's note on a weight in 4 bits has it; None: it says none."""
    state = next(tensor for name, tensor in beside.items() if name.startswith("quant_state."))
    try:
        return torch.Size(json.loads(bytes(state.tolist()))["shape"])
    except (ValueError, KeyError, TypeError):
        return None


def put_packed(model: nn.Module, layer: str, packed: Packed, dtype: torch.dtype, device: torch.device | str) -> None:
    """Put a linear layer with a weight from a file in the place of another one.

    Args:
        layer: name of the layer in the model; a bias that it has stays.
        dtype: precision of the products.
    """
    from bitsandbytes.nn import Int8Params, Params4bit

    if packed.kind == "int8":
        value = Int8Params(packed.weight.to(device, copy=True), requires_grad=False, has_fp16_weights=False)
        value.CB, value.SCB = value.data, packed.beside["SCB"].to(device)
    else:
        beside = {name: tensor.to(device, copy=True) for name, tensor in packed.beside.items()}
        value = Params4bit.from_prequantized(packed.weight.to(device, copy=True), beside, device=device)
    put_layer(model, layer, value, packed.kind, dtype)
