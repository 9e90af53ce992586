"""As many threads as do the work fastest."""

from __future__ import annotations

import time

import pytest
import torch

from skyeye.serve.api import threads


@pytest.fixture
def three_threads(torch_threads):
    torch_threads(3)


@pytest.mark.parametrize(
    ("milliseconds", "chosen"),
    [
        ({1: 10, 2: 20, 3: 30}, 1),
        ({1: 30, 2: 20, 3: 10}, 3),
        ({1: 30, 2: 10, 3: 20}, 2),
        ({1: 10.3, 2: 10, 3: 12}, 1),  # as fast, and leaves a core
    ],
)
def test_the_fastest_number_is_chosen(three_threads, monkeypatch, milliseconds, chosen):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def work() -> None:
        clock[0] += milliseconds[torch.get_num_threads()]

    assert threads.choose_threads(work) == torch.get_num_threads() == chosen
