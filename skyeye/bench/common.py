"""What every benchmark tells: ratios from alternating pairs, and the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch


def alternate(
    ours: Callable[[], float], baseline: Callable[[], float], pairs: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Run both in turn, after one unmeasured round of each, and return their rates.

    A machine that other work slows down slows both halves of a pair, so ratios within pairs are sound where times are
    not.

    Args:
        ours, baseline: do a fixed amount of work and return its rate.
        pairs: number of pairs, at most.
        seconds: no further pair is begun after this time, counted from the unmeasured round; three are run if they fit
            into twice the time, and one in any case.
    """
    began = time.perf_counter()
    ours(), baseline()
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        if number and time.perf_counter() - began > (seconds if number >= 3 else 2 * seconds):
            break
        # the order changes, so that neither always runs on the caches of the other
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            rates[index].append((ours, baseline)[index]())
    return rates


def ratios(ours: list[float], baseline: list[float]) -> dict[str, float | int]:
    """Median, least and greatest of the ratios within the pairs."""
    each = [a / b for a, b in zip(ours, baseline, strict=True)]
    return {
        "median": round(statistics.median(each), 3),
        "min": round(min(each), 3),
        "max": round(max(each), 3),
        "pairs": len(each),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "date": time.strftime("%Y-%m-%d"),
    }
