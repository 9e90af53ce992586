"""Scenes of plain colours, and what sees them perfectly: an answerer without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import rasterio
from PIL import Image
from scipy import ndimage

from skyeye.data.geometry.boxes import Box
from skyeye.data.record import Turn
from skyeye.serve.scenes.answers import Said

COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}


class Oracle:
    """Finds the rectangles of a colour; writes their boxes in whole hundredths, as models do.

    Attributes:
        asked: pictures, one entry for each time one is asked about.
    """

    def __init__(self, side: int = 100, name: str = "oracle"):
        self.side, self.name, self.asked = side, name, []

    def prepare(self, picture: Image.Image) -> np.ndarray:
        return np.asarray(picture).astype(int)

    def answer(self, prepared: Sequence[np.ndarray], turns: Sequence[Turn]) -> list[list[Said]]:
        self.asked += prepared
        return [[self._about(pixels, turn) for turn in turns] for pixels in prepared]

    def _about(self, pixels: np.ndarray, turn: Turn) -> Said:
        words = turn.question.split()
        colour = next((word for word in words if word in COLOURS), None)
        if colour is None:
            return Said("forest" if pixels[..., 1].mean() > 50 else "desert", 0.75)
        boxes = self._boxes(pixels, colour)
        if turn.task == "vqa":
            return Said(("yes" if boxes else "no") if words[0] == "is" else str(len(boxes)), 0.5)
        return Said(f"{colour} things", 0.9, tuple((f"{colour} things", box) for box in boxes))

    def _boxes(self, pixels: np.ndarray, colour: str) -> list[Box]:
        height, width = pixels.shape[:2]
        place = list(COLOURS).index(colour)
        others = np.delete(pixels, place, axis=2).max(axis=2)
        labels, _ = ndimage.label((pixels[..., place] > 130) & (others < 110))
        found = []
        for rows, columns in ndimage.find_objects(labels):
            numbers = (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)
            found.append(Box(*(int(value * 100 + 1e-9) / 100 for value in numbers)))
        return [box for box in found if box.area]


@pytest.fixture
def oracle():
    return Oracle()


@pytest.fixture
def make_oracle():
    """The class of :func:`oracle`."""
    return Oracle


@pytest.fixture(scope="session")
def draw():
    """(size, {colour: boxes}) -> RGB array (3, height, width) of dark noise with rectangles."""
    return _draw


def _draw(width: int, height: int, things: dict[str, list[tuple[int, int, int, int]]]) -> np.ndarray:
    rng = np.random.default_rng(0)
    pixels = rng.integers(40, 60, (3, height, width), dtype=np.uint8)
    for colour, boxes in things.items():
        for left, top, right, bottom in boxes:
            pixels[:, top:bottom, left:right] = np.array(COLOURS[colour], np.uint8)[:, None, None]
    return pixels


@pytest.fixture(scope="session")
def write_tiff():
    """(path, bands, transform, crs, profile...) -> the path of a GeoTIFF."""
    return _write_tiff


def _write_tiff(path, bands, transform=None, crs=None, **profile):
    count, height, width = bands.shape
    place = {} if transform is None else {"transform": rasterio.Affine(*transform)}
    kind = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype, "crs": crs}
    with rasterio.open(path, "w", **kind, **place, **profile) as file:
        file.write(bands)
    return path
