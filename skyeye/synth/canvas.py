"""Drawing helpers: a supersampled canvas in turned local coordinates, and smooth noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Canvas:
    """Shapes given in local units, drawn with soft edges.

    Args:
        width, height: final size in pixels.
        fill: background colour.
        unit: pixels (of the final image) of one local unit; the origin is the centre of the canvas.
        angle: local axes are turned by this, in degrees.
        oversample: shapes are drawn this many times larger and averaged down.
    """

    def __init__(self, width: int, height: int, fill: Colour, unit: float, angle: float = 0.0, oversample: int = 3):
        self.oversample = oversample
        self.image = Image.new("RGB", (width * oversample, height * oversample), fill)
        self.draw = ImageDraw.Draw(self.image)
        self.scale = unit * oversample
        self.centre = (width * oversample / 2, height * oversample / 2)
        self.turn(angle)

    def turn(self, angle: float) -> None:
        self.cos, self.sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))

    def point(self, x: float, y: float, shift: float = 0.0) -> Point:
        """Local to canvas pixels; ``shift`` moves down and right in the image whatever the angle (for shadows)."""
        return (
            self.centre[0] + (x * self.cos - y * self.sin + shift) * self.scale,
            self.centre[1] + (x * self.sin + y * self.cos + shift) * self.scale,
        )

    def polygon(self, points: Sequence[Point], fill: Colour, shift: float = 0.0) -> None:
        self.draw.polygon([self.point(x, y, shift) for x, y in points], fill)

    def rect(self, x1: float, y1: float, x2: float, y2: float, fill: Colour, shift: float = 0.0) -> None:
        self.polygon([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], fill, shift)

    def line(self, points: Sequence[Point], fill: Colour, width: float, joint: str | None = None) -> None:
        pixels = max(1, round(width * self.scale))
        self.draw.line([self.point(x, y) for x, y in points], fill, pixels, joint)

    def frame(self, x1: float, y1: float, x2: float, y2: float, fill: Colour, width: float) -> None:
        """The outline of a rectangle."""
        self.line([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1), (x2, y1)], fill, width, "curve")

    def dashes(self, start: Point, end: Point, fill: Colour, width: float, dash: float, gap: float) -> None:
        length = math.dist(start, end)
        direction = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
        for at in np.arange(0, length, dash + gap):
            stop = min(at + dash, length)
            self.line([(start[0] + t * direction[0], start[1] + t * direction[1]) for t in (at, stop)], fill, width)

    def circle(self, x: float, y: float, radius: float, fill: Colour, shift: float = 0.0) -> None:
        (cx, cy), r = self.point(x, y, shift), radius * self.scale
        self.draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill)

    def finish(self) -> Image.Image:
        return self.image.reduce(self.oversample)


def shade(colour: Sequence[float], factor: float) -> Colour:
    return tuple(int(min(255, max(0, channel * factor))) for channel in colour)  # type: ignore[return-value]


def jitter(rng: np.random.Generator, colour: Sequence[float], amount: float) -> Colour:
    """The colour, moved by up to ``amount`` in common brightness and a third of it in each channel."""
    moved = np.asarray(colour) + rng.uniform(-amount, amount) + rng.uniform(-amount / 3, amount / 3, 3)
    return tuple(int(c) for c in np.clip(moved, 0, 255))  # type: ignore[return-value]


def noise(rng: np.random.Generator, size: int, cells: float, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise of shape (size, size), standard deviation about 0.7, with ``cells`` bumps along the x axis."""
    shape = (max(2, round(cells)), max(2, round(cells / stretch)))
    grid = Image.fromarray(rng.standard_normal(shape[::-1]).astype(np.float32))
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))


def crowns(rng: np.random.Generator, size: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Tree crowns from above, about ``cells`` across: their height (0..1 within a crown, below 0 in a gap) and a tone
    in -1..1, the same over a whole crown. Both (size, size)."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) * (cells / size)
    across = cells + 3  # with a border, so that every cell has neighbours
    root = np.indices((across, across), np.float32) - 1 + rng.uniform(0, 1, (2, across, across)).astype(np.float32)
    radius = rng.uniform(0.6, 1.0, across * across).astype(np.float32)
    own = (y.astype(np.int32) + 1) * across + x.astype(np.int32) + 1
    height, owner = np.full((size, size), -9, np.float32), own
    for step in (i * across + j for i in (-1, 0, 1) for j in (-1, 0, 1)):  # the highest of the neighbouring crowns
        cell = own + step
        dx, dy, r = x - root[1].take(cell), y - root[0].take(cell), radius.take(cell)
        candidate = r - (dx * dx + dy * dy) / r
        higher = candidate > height
        height, owner = np.where(higher, candidate, height), np.where(higher, cell, owner)
    return height, rng.uniform(-1, 1, across * across).astype(np.float32).take(owner)


def relief(height: np.ndarray, strength: float) -> np.ndarray:
    """Light from the upper left on a height field, as a factor about 1, of shape (size, size, 1)."""
    dy, dx = np.gradient(height)
    return np.clip(1.0 + strength * (dx + dy), 0.45, 1.6)[..., None]


def tint(low: Sequence[float], high: Sequence[float], amount: np.ndarray) -> np.ndarray:
    """Mix of two colours, (size, size, 3); ``amount`` 0 is low, 1 is high."""
    mix = np.clip(amount, 0, 1)[..., None]
    return np.asarray(low, np.float32) * (1 - mix) + np.asarray(high, np.float32) * mix
