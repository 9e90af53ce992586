"""A tower of a few thousand weights, pictures to look at, and a cache being built from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skyeye.config.schema import VisionConfig
from skyeye.models.vision import VisionTower
from skyeye.train.features import build as building
from skyeye.train.features.key import made_from


@pytest.fixture(scope="session")
def vision() -> VisionConfig:
    return VisionConfig(image_size=28, patch_size=7, width=16, depth=1, heads=2, mlp_ratio=2.0)


@pytest.fixture
def tower(vision) -> VisionTower:
    torch.manual_seed(5)
    return VisionTower(asdict(vision)).requires_grad_(False).eval()


@pytest.fixture
def pictures(tmp_path) -> list[str]:
    """Files of 37 different pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(1)
    for number in range(37):
        Image.fromarray(draw.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / f"{number:02}.png")
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.fixture
def build(vision, tower, monkeypatch) -> Callable[..., dict]:
    """A function that builds a cache of pictures in batches of 4, and returns what it was made from."""
    monkeypatch.setattr(building, "BATCH", 4)

    def run(folder: Path, references, *, dtype="fp32", precision="fp32", workers=0, tell=lambda _: None, **settings):
        made = made_from(tower, vision, precision, dtype)
        extractor = building.Extractor(tower, vision, torch.device("cpu"), workers)
        for _ in building.build(folder, made, references, extractor, tell=tell, **settings):
            pass
        return made

    return run
