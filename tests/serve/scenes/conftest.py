"""Scenes of plain colours, and what sees them perfectly: an answerer without a model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

sys.path.append(str(Path(__file__).parent))  # perfect.py is started as a process, too

from perfect import COLOURS, Oracle


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
