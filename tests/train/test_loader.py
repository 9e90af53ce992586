"""The loader's pixels: how many a machine keeps."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from skyeye.train import loader


@pytest.mark.parametrize(
    ("environment", "workers", "kept"),
    [
        ({}, None, 16),  # the training process reads the pictures itself
        ({}, 2, 8),
        ({"LOCAL_WORLD_SIZE": "4"}, 2, 2),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x3),4"}, 2, 2),
    ],
)
def test_the_pixel_cache_is_a_limit_for_the_machine(monkeypatch, environment, workers, kept):
    for name in ("LOCAL_WORLD_SIZE", "SLURM_STEP_TASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    info = None if workers is None else SimpleNamespace(num_workers=workers)
    monkeypatch.setattr(loader, "get_worker_info", lambda: info)
    monkeypatch.setattr(loader, "PIXEL_CACHE_BYTES", 16 * 3 * 4)  # of 16 pictures of three numbers
    read = []
    cache = loader.PixelCache(lambda path: read.append(path) or torch.zeros(3))
    for number in [*range(20), *reversed(range(20))]:
        cache(str(number))
    assert len(cache._pixels) == kept
    assert len(read) == 20 + 20 - kept
