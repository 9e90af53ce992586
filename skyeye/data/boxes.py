"""Boxes: between numbers and the text a language model reads and writes, and how well two of them agree.

In text a box is ``{<x1><y1><x2><y2>}``, integers in hundredths of the image's width and height, truncated as in
MiniGPT-v2; several boxes are joined by ``<delim>``; a grounded phrase is ``<p>phrase</p> {box}<delim>{box}``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass

from skyeye.data.polygons import Point, polygon_area, rectangle_corners, smallest_rectangle
from skyeye.errors import SkyEyeError

DELIMITER = "<delim>"
_BOX = re.compile(r"\{<(\d{1,3})><(\d{1,3})><(\d{1,3})><(\d{1,3})>\}")
_PHRASE = re.compile(r"<p>((?:(?!</?p>).)*)</p>((?:(?!<p>).)*)", re.DOTALL)


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
        return iter(astuple(self))

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


def format_box(box: Box | Sequence[float], clip: bool = True) -> str:
    """``{<x1><y1><x2><y2>}`` of four fractions. ``clip=False`` is the reference, which writes ``<116>`` for a box that
    leaves the image."""
    numbers = [int(v * 100) for v in box]
    if clip:
        numbers = [min(max(n, 0), 100) for n in numbers]
    return "{" + "".join(f"<{n}>" for n in numbers) + "}"


def format_boxes(boxes: Iterable[Box | Sequence[float]], clip: bool = True) -> str:
    """Several boxes, joined by ``<delim>``."""
    return DELIMITER.join(format_box(box, clip) for box in boxes)


def format_phrase(phrase: str, boxes: Iterable[Box | Sequence[float]], clip: bool = True) -> str:
    """A phrase with the boxes it is found in: ``<p>phrase</p> {box}<delim>{box}``."""
    return f"<p>{phrase}</p> {format_boxes(boxes, clip)}"


def parse_boxes(text: str) -> list[Box]:
    """Every well-formed box of a text, in order; spaces and ``<unk>`` inside are ignored as in the reference.

    Anything else (three numbers, four digits, a missing brace, corners in the wrong order) is not a box and is not
    returned. ``format_box(box, clip=False)`` of a result gives the text back.
    """
    found = []
    for match in _BOX.finditer(re.sub(r"<unk>|\s", "", text)):
        box = Box(*(fraction(int(number)) for number in match.groups()))
        if box.x1 <= box.x2 and box.y1 <= box.y2:
            found.append(box)
    return found


def parse_phrases(text: str) -> list[tuple[str, list[Box]]]:
    """Grounded phrases with the boxes that follow each: ``<p>a ship</p> {<1><2><3><4>}`` -> ``("a ship", [Box])``.

    A phrase without a well-formed box is returned with an empty list.
    """
    return [(match[1].strip(), parse_boxes(match[2])) for match in _PHRASE.finditer(text)]


def iou(a: Box | Sequence[float], b: Box | Sequence[float], plus_one: bool = False) -> float:
    """Intersection over union of two boxes given as four corner numbers in the same unit.

    ``plus_one`` counts both border pixels as the reference does; the numbers are then pixels or hundredths
    (``box.to_pixels(100, 100)``), not fractions. Two boxes without area have IoU 0.
    """
    ax1, ay1, ax2, ay2 = a
    bx1, by1, bx2, by2 = b
    one = 1.0 if plus_one else 0.0
    width = max(0.0, min(ax2, bx2) - max(ax1, bx1) + one)
    height = max(0.0, min(ay2, by2) - max(ay1, by1) + one)
    intersection = width * height
    union = (ax2 - ax1 + one) * (ay2 - ay1 + one) + (bx2 - bx1 + one) * (by2 - by1 + one) - intersection
    return intersection / union if union > 0 else 0.0


def fraction(hundredths: int) -> float:
    """Hundredths of an image side as the fraction that :func:`format_box` writes as the same number."""
    # 29 / 100 * 100 is 28.999999999999996 and would be truncated to 28 when the box is written again
    value = hundredths / 100
    return value if int(value * 100) == hundredths else math.nextafter(value, math.inf)
