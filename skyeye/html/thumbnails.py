"""Pictures for HTML pages that need nothing else: thumbnails as data: URLs, and outlines to draw over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from skyeye.data.images.load import load_image


@dataclass(frozen=True)
class Outline:
    """A polygon over a picture, in percent of its sides.

    Attributes:
        points: ``x,y`` of each corner, as the attribute of an SVG polygon.
        kind: what is outlined (answer, truth, ...); the page colours by it.
        label: words for it.
        x, y: where the label goes: the upper left corner, moved into the picture.
    """

    points: str
    kind: str
    label: str
    x: float
    y: float


def outline(corners: Iterable[float], kind: str, label: str = "") -> Outline:
    """The outline of an upright box (x1, y1, x2, y2) or a polygon (x1, y1, ..., xn, yn), in fractions of the sides."""
    numbers = list(corners)
    if len(numbers) == 4:
        x1, y1, x2, y2 = numbers
        numbers = [x1, y1, x2, y1, x2, y2, x1, y2]
    percent = [round(100 * float(value), 2) for value in numbers]
    points = " ".join(f"{x},{y}" for x, y in zip(percent[::2], percent[1::2], strict=True))
    x, y = (min(max(value, 0.0), 94.0) for value in (min(percent[::2]), min(percent[1::2])))
    return Outline(points, kind, label, x, y)


def thumbnail(reference: str, side: int) -> str:
    """A JPEG of at most ``side`` pixels a side, as a data: URL.

    Raises:
        SkyEyeError: the image cannot be read (see :func:`skyeye.data.images.load.load_image`).
    """
    image = load_image(reference)
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return jpeg_url(stream.getvalue())


def jpeg_url(content: bytes) -> str:
    """A JPEG file as a data: URL."""
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
