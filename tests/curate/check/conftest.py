import os
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


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real samples, which is no part of the project."""
    beside = Path(__file__).resolve().parents[3] / "../shared"
    folder = Path(os.environ.get("SKYEYE_SHARED", beside)) / "data"
    if not folder.is_dir():
        pytest.skip(f"real samples are not on this machine: no folder {folder} (set SKYEYE_SHARED)")
    return folder
