"""The precision that weights are held in: low for what stays as it is, float32 for what is trained."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import psutil
import torch
from torch.nn import functional

from skyeye.errors import SkyEyeError
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.quantized import BYTES

Part = Literal["vision", "language"]

#: Precisions as recipes name them.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Parts that may be held in low precision, and the names of their parameters begin with.
_PREFIXES = {"vision": "vision_tower.", "language": "language_model."}


#: Adapters, the projector and the norm before it are float32 always, as in the reference.
_KEPT = tuple(SkyEyeForConditionalGeneration._keep_in_fp32_modules_strict)
#: A model that is smaller than this in float32 gains nothing from another precision but rounding.
SMALL = 1 << 30
#: Layers are measured up to this width: wider ones compare alike and take seconds where bfloat16 is emulated.
WIDEST = 512


def dtype_of(name: str, precision: torch.dtype | Mapping[Part, torch.dtype]) -> torch.dtype:
    """The precision that a tensor of this name is held in.

    Args:
        precision: of the weights of tower and language model, one for both or by part; a part without is float32.
    """
    for part, opening in _PREFIXES.items():
        if name.startswith(opening) and not any(kept in name for kept in _KEPT):
            return precision if isinstance(precision, torch.dtype) else precision.get(part, torch.float32)
    return torch.float32


def resolve_precision(name: str, device: torch.device | str, values: int) -> torch.dtype:
    """The precision that ``--dtype`` names.

    ``auto``: float32 for a small model, otherwise :func:`fastest_precision`. ``int8`` and ``int4``: that of the
    products, and of what is not held in 8 or 4 bits.

    Args:
        values: numbers in the model.
    """
    if name in BYTES:  # the rest of such a model, and its products
        return DTYPES[fastest_precision(device)]
    if name != "auto":
        return DTYPES[name]
    if values * 4 < SMALL:
        return torch.float32
    return DTYPES[fastest_precision(device)]


def fastest_precision(device: torch.device | str, width: int = WIDEST, inner: int = WIDEST) -> str:
    """The precision that a device computes fastest in, as recipes name it.

    On a GPU bfloat16, or float16 where that is only emulated. On a CPU bfloat16 where its products take a tenth less
    time than those of float32, measured: without hardware for them they take eight to forty times as long.

    Args:
        width, inner: sizes of the layers of the model.
    """
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    sizes = min(width, WIDEST), min(inner, WIDEST)
    return "bf16" if _seconds(torch.bfloat16, *sizes) < 0.9 * _seconds(torch.float32, *sizes) else "fp32"


def _seconds(dtype: torch.dtype, width: int, inner: int) -> float:
    """Processor time of the products of two layers, forward and backward, as in a training step; best of three.

    One thread, and its own time: several that wait for each other tell nothing where other work runs.
    """
    x = torch.ones(256, width)
    up, down = torch.ones(inner, width, requires_grad=True), torch.ones(width, inner, requires_grad=True)
    best, threads = float("inf"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.enable_grad():
            for _ in range(3):
                began = time.thread_time()
                with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    total = functional.linear(functional.linear(x, up), down).sum()
                total.backward()
                best = min(best, time.thread_time() - began)
    finally:
        torch.set_num_threads(threads)
    return best


def refuse_what_does_not_fit(
    tensors: Mapping[str, torch.Tensor],
    dtypes: Mapping[str, torch.dtype],
    device: torch.device | str,
    where: str,
    quantizable: Collection[str] = (),
    kind: str | None = None,
) -> None:
    """Refuse a model that is larger than the free memory of its device.

    Args:
        quantizable: names of the tensors that can be held in 8 or 4 bits.
        kind: ``int8`` or ``int4``, where they are.

    Raises:
        SkyEyeError: says what it needs in each precision, and what is free.
    """
    few = sum(tensors[name].numel() for name in quantizable)
    rest = sum(tensor.numel() for tensor in tensors.values()) - few
    needs = sum(t.numel() * dtypes[name].itemsize for name, t in tensors.items() if not (kind and name in quantizable))
    if kind is not None:
        needs += few * BYTES[kind]
    on_gpu = torch.device(device).type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else psutil.virtual_memory().available
    if needs <= free:
        return
    each = {"fp32": 4 * (few + rest), "bf16 and fp16": 2 * (few + rest)}
    each |= {kind: 2 * rest + few * size for kind, size in BYTES.items()}
    listed = ", ".join(f"{size / 1e9:.1f} in {name}" for name, size in each.items())
    raise SkyEyeError(
        f"needs {needs / 1e9:.1f} GB ({listed}); free: {free / 1e9:.1f} GB on {torch.device(device).type}",
        where=where,
        remedy="choose a smaller --dtype, another --device, or end other programs",
    )


def in_precision(
    model: SkyEyeForConditionalGeneration, dtype: torch.dtype, parts: Sequence[Part] = ("vision", "language")
) -> SkyEyeForConditionalGeneration:
    """Hold the weights of ``parts`` in ``dtype`` and all others in float32; in place.

    Adapters, the projector and the norm before it are float32 always, as in the reference. Buffers stay as they are:
    rotary frequencies need float32.
    """
    precision = {part: dtype for part in parts}
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():  # packed 4-bit weights
            continue
        parameter.data = parameter.data.to(dtype_of(name, precision))
    return model
