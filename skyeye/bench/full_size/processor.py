"""This machine's processor: its name, and how deep a model it trains a few steps of within the time."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch

from skyeye.bench.full_size.weights import SHARD

#: Share of the time that the training steps may take, and the tokens that all of them compute together.
_SHARE, _TOKENS = 0.5, 3500
#: Floating-point operations a weight and token: forward, forward again, backward (no gradients of frozen weights).
_OPERATIONS = 6
_ROWS, _SIZE = 512, 2048


def processor() -> str:
    """Its name, as the system has it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    return named or platform.processor() or platform.machine()


def trained_layers(layers: int, width: int, minutes: float) -> int:
    """Layers of the model that is trained: all where the processor multiplies bf16 natively, else as many as the time
    allows, in whole shards."""
    if products_per_second(torch.bfloat16) >= products_per_second(torch.float32):
        return layers
    operations = _OPERATIONS * _TOKENS * 12 * width * width  # of a layer: about 12 matrices of width x width
    fitting = int(_SHARE * 60 * minutes * products_per_second(torch.bfloat16) / operations)
    return layers if fitting >= layers else max(min(SHARD, layers), fitting // SHARD * SHARD)


def products_per_second(dtype: torch.dtype) -> float:
    """Floating-point operations a second of a product as a training step has them; best of three."""
    left, right = torch.ones(_ROWS, _SIZE, dtype=dtype), torch.ones(_SIZE, _SIZE, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - began)
    return 2 * _ROWS * _SIZE**2 / best
