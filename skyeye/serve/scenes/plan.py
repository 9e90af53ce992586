"""From the size of a scene to the windows that are asked, at one or several scales."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from skyeye.data.geometry.windows import Window, cells, windows
from skyeye.data.images.georeference import Georeference
from skyeye.data.images.stretch import parse_bands, parse_stretch
from skyeye.errors import SkyEyeError

MAX_WINDOWS = 2_000_000  # of one scene; a damaged header could ask for more than a lifetime answers
_LENGTH = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(m|px|pixels|)\s*")


@dataclass(frozen=True)
class Length:
    """A length in pixels of the scene, or in metres on the ground."""

    value: float
    in_metres: bool = False

    @classmethod
    def parse(cls, text: str, where: str) -> Length:
        """``448``, ``448px`` or ``200m``.

        Raises:
            SkyEyeError: none of these.
        """
        found = _LENGTH.fullmatch(text)
        if found is None:
            raise SkyEyeError(f"{text!r} is no length", where=where, remedy="pixels, e.g. 448, or metres, e.g. 200m")
        return cls(float(found[1]), found[2] == "m")

    def pixels(self, place: Georeference | str, size: tuple[int, int], where: str) -> int:
        """In whole pixels of a scene.

        Raises:
            SkyEyeError: it is in metres and the scene has no coordinates.
        """
        if not self.in_metres:
            return round(self.value)
        if isinstance(place, str):
            raise SkyEyeError(f"metres mean nothing in this scene: {place}", where=where, remedy="give pixels")
        return round(self.value / place.metres(size))


@dataclass(frozen=True)
class Cutting:
    """How scenes are cut into windows.

    Attributes:
        tile: side of a window at scale 1; None: that of the pictures the model looks at.
        overlap: of neighbouring windows at scale 1; None: a quarter of the side.
        scales: sides of the windows, in sides of scale 1.
        bands, stretch: see :mod:`skyeye.data.images.stretch`.
        crs: coordinate system of scenes that state none.
    """

    tile: Length | None = None
    overlap: Length | None = None
    scales: tuple[float, ...] = (1.0,)
    bands: str | None = None
    stretch: str | None = None
    crs: str | None = None

    def __post_init__(self) -> None:
        if not self.scales or not all(math.isfinite(scale) and 1 / 64 <= scale <= 64 for scale in self.scales):
            raise SkyEyeError("scales lie between 1/64 and 64", where="--scales", remedy="e.g. --scales 1 2 4")
        parse_bands(self.bands, "--bands")
        parse_stretch(self.stretch, "--stretch")


@dataclass(frozen=True)
class Tile:
    """A window of a scene.

    Attributes:
        window: left, top, right, bottom in pixels of the scene.
        cell: the part of it that no other window of its scale stands for.
        scale: see :class:`Cutting`.
        every: it is read at one pixel for so many; the model would make it smaller anyway.
    """

    window: Window
    cell: tuple[float, float, float, float]
    scale: float
    every: int


def plan(cutting: Cutting, size: tuple[int, int], place: Georeference | str, side: int, where: str) -> list[Tile]:
    """The windows of a scene, scale by scale, row by row.

    Args:
        size: width and height of the scene.
        place: where it lies.
        side: of the pictures that the model looks at.
        where: the scene, for messages.

    Raises:
        SkyEyeError: lengths that make no windows, or too many of them.
    """
    tile = side if cutting.tile is None else cutting.tile.pixels(place, size, f"{where}: --tile")
    overlap = tile // 4 if cutting.overlap is None else cutting.overlap.pixels(place, size, f"{where}: --overlap")
    if tile < 1:
        raise SkyEyeError("a window is smaller than a pixel", where=f"{where}: --tile", remedy="give more metres")
    if not 0 <= overlap < tile:
        what = f"the overlap of {overlap} pixels is not smaller than the window, {tile}"
        raise SkyEyeError(what, where=f"{where}: --overlap", remedy=f"for instance --overlap {tile // 4}")
    found: list[Tile] = []
    for scale in sorted(set(cutting.scales)):
        large, common = max(1, round(tile * scale)), round(overlap * scale)
        common = min(common, large - 1)
        number = math.prod(math.ceil(max(1, length - common) / (large - common)) for length in size)
        if len(found) + number > MAX_WINDOWS:
            what = f"{size[0]} x {size[1]} pixels would become {number:,} windows of {large}, more than {MAX_WINDOWS:,}"
            raise SkyEyeError(what, where=where, remedy="take a larger --tile, or cut the scene")
        every = 1 << max(0, int(math.log2(large / side))) if large > side else 1
        places = zip(windows(*size, large, common), cells(*size, large, common), strict=True)
        found += [Tile(window, cell, scale, every) for window, cell in places]
    return found
