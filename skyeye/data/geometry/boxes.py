"""Boxes as numbers, and how well two of them agree. How they are written: :mod:`skyeye.data.geometry.box_text`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass

from skyeye.data.geometry.polygons import Point, polygon_area, rectangle_corners, smallest_rectangle
from skyeye.errors import SkyEyeError


@dataclass(frozen=True)
class Box:
    """Upper left and lower right corner in fractions of the image's sides; may leave 0..1 before clipping."""

    x1: float
    y1: float
    x2: float
    y2: float

    @classmethod
    def from_pixels(cls, x1: float, y1: float, x2: float, y2: float, width: float, height: float) -> Box:
        """Corners in pixels of an image of ``width`` x ``height``.

        Raises:
            SkyEyeError: the image has no area or a coordinate is not a finite number.
        """
        if not (width > 0 and height > 0):
            raise SkyEyeError(f"image size {width} x {height} has no area", remedy="correct the size in the annotation")
        if not all(math.isfinite(v) for v in (x1, y1, x2, y2)):
            raise SkyEyeError(f"box ({x1}, {y1}, {x2}, {y2}) is not finite", remedy="correct the annotation")
        return cls(x1 / width, y1 / height, x2 / width, y2 / height)

    @classmethod
    def from_xywh_pixels(cls, x: float, y: float, w: float, h: float, width: float, height: float) -> Box:
        """Upper left corner, width and height in pixels (the COCO layout)."""
        return cls.from_pixels(x, y, x + w, y + h, width, height)

    def __iter__(self) -> Iterator[float]:
        return iter(self.as_tuple())

    def as_tuple(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2."""
        return self.x1, self.y1, self.x2, self.y2

    def clipped(self) -> Box:
        """The part of the box that lies in the image; a box outside collapses onto the border (area 0)."""
        return Box(*(min(max(v, 0.0), 1.0) for v in self))

    def to_pixels(self, width: float, height: float) -> tuple[float, float, float, float]:
        """Corners in pixels of an image of ``width`` x ``height``; 100 x 100 gives the numbers of the text."""
        return self.x1 * width, self.y1 * height, self.x2 * width, self.y2 * height

    @property
    def area(self) -> float:
        """Area in fractions of the image; 0 for a box whose corners are in the wrong order."""
        return max(0.0, self.x2 - self.x1) * max(0.0, self.y2 - self.y1)


@dataclass(frozen=True)
class OrientedBox:
    """Four corners in fractions of the image's sides, in the order they were annotated; may leave 0..1.

    Corners, not centre and angle: they need no picture size, and annotated ones (DOTA) are not quite rectangles.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    x3: float
    y3: float
    x4: float
    y4: float

    @classmethod
    def from_pixels(cls, numbers: Iterable[float], width: float, height: float) -> OrientedBox:
        """Eight numbers x1 y1 ... x4 y4 in pixels of an image of ``width`` x ``height``."""
        return cls(*(value / (height if index % 2 else width) for index, value in enumerate(numbers)))

    @classmethod
    def from_box(cls, box: Box) -> OrientedBox:
        """The corners of an upright box, clockwise from the upper left."""
        return cls(box.x1, box.y1, box.x2, box.y1, box.x2, box.y2, box.x1, box.y2)

    @classmethod
    def from_centre(
        cls, cx: float, cy: float, width: float, height: float, angle: float, aspect: float = 1.0
    ) -> OrientedBox:
        """A rectangle turned about its centre.

        Args:
            cx, cy: centre in fractions of the image's sides.
            width, height: sides before turning, in fractions of the image's width and height.
            angle: degrees, clockwise as seen (y is downwards).
            aspect: width of the image / its height; the turning happens in pixels, not in fractions.
        """
        corners = rectangle_corners(cx * aspect, cy, width * aspect, height, angle)
        return cls(*(value for x, y in corners for value in (x / aspect, y)))

    def __iter__(self) -> Iterator[float]:
        return iter(astuple(self))

    @property
    def corners(self) -> list[Point]:
        """The four (x, y)."""
        numbers = tuple(self)
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    @property
    def area(self) -> float:
        """Area in fractions of the image."""
        return polygon_area(self.corners)

    def upright(self) -> Box:
        """The upright box around it."""
        numbers = tuple(self)
        return Box(min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))

    def to_pixels(self, width: float, height: float) -> tuple[float, ...]:
        """Eight numbers in pixels of an image of ``width`` x ``height``."""
        return tuple(value * (height if index % 2 else width) for index, value in enumerate(self))

    def centre_form(self, aspect: float = 1.0) -> tuple[float, float, float, float, float]:
        """(cx, cy, width, height, angle) of the smallest rectangle around the corners; see :meth:`from_centre`.

        The angle is at least 0 and below 90 degrees.
        """
        points = [(x * aspect, y) for x, y in self.corners]
        cx, cy, width, height, angle = smallest_rectangle(points)
        return cx / aspect, cy, width / aspect, height, angle


def iou(a: Box | Sequence[float], b: Box | Sequence[float], plus_one: bool = False) -> float:
    """Intersection over union of two boxes given as four corner numbers in the same unit.

    ``plus_one`` counts both border pixels as the reference does; it means something of pixels or hundredths
    (``box.to_pixels(100, 100)``), not of fractions. Two boxes without area have IoU 0.
    """
    ax1, ay1, ax2, ay2 = a
    bx1, by1, bx2, by2 = b
    one = 1.0 if plus_one else 0.0
    width = max(0.0, min(ax2, bx2) - max(ax1, bx1) + one)
    height = max(0.0, min(ay2, by2) - max(ay1, by1) + one)
    intersection = width * height
    union = (ax2 - ax1 + one) * (ay2 - ay1 + one) + (bx2 - bx1 + one) * (by2 - by1 + one) - intersection
    return intersection / union if union > 0 else 0.0
