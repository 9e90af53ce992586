"""How many threads a small model is answered with fastest, on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

#: Rounds in which every number is tried; the least time counts.
_ROUNDS = 3
#: Fewer threads are taken when they need so much more time at most: they leave cores to whoever reads requests.
_AS_FAST = 1.05


def choose_threads(work: Callable[[], object]) -> int:
    """Let torch compute with as many threads as do some work fastest: 1, 2, 4 ... and as many as it has now at most.

    Threads that share an operation of some microseconds wait for each other longer than they compute.

    Returns:
        The number that was chosen.
    """
    most = torch.get_num_threads()
    numbers = [*(2**power for power in range(most.bit_length()) if 2**power < most), most]
    spent = dict.fromkeys(numbers, float("inf"))
    for _ in range(_ROUNDS):
        for number in numbers:
            torch.set_num_threads(number)
            spent[number] = min(spent[number], _seconds(work))
    chosen = next(number for number in numbers if spent[number] <= _AS_FAST * min(spent.values()))
    torch.set_num_threads(chosen)
    return chosen


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
