from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def picture():
    """Draws a picture of smooth hills that belong to a number: other numbers give pictures that do not look alike."""

    def draw(number: int, side: int = 64) -> Image.Image:
        coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)

    return draw


@pytest.fixture
def write_pictures(picture):
    def write(folder: Path, **numbers: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, number in numbers.items():
            picture(number).save(folder / f"{name}.png")

    return write
