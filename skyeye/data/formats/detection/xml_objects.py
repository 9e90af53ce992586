"""XML files that list the objects of an image: the layout of Pascal VOC (DIOR, HRRSD, DIOR-RSVG) and that of FAIR1M."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from skyeye.data.formats.base.problems import BadRecord, Problem, image_size, read_text, unreadable
from skyeye.data.formats.base.stated_size import Measured, measured_on
from skyeye.errors import SkyEyeError

_LARGEST = 1 << 24  # bytes; an image with ten thousand objects has three million
_ENTITIES = re.compile(r"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


@dataclass(frozen=True)
class XmlObject:
    """One ``<object>``: ``where`` names it for messages, ``corners`` are x1 y1 x2 y2 ... in pixels (4 or 8 numbers)."""

    where: str
    name: str
    corners: tuple[float, ...]
    description: str
    difficult: bool


@dataclass(frozen=True)
class XmlImage:
    """The image of one file, its size in pixels (None: not said), and its objects; what is unsound is a problem."""

    filename: str
    size: tuple[float, float] | None
    objects: tuple[XmlObject | Problem, ...]

    def measured(self, image: str, where: str) -> Measured:
        """The picture that the corners were measured on: of the size said in the file, else of that of the image file.

        Raises:
            BadRecord: the image file is of another shape than the file says, or unreadable where it says nothing.
        """
        return measured_on(image, self.size, where) if self.size else Measured(image_size(image, where))


def read_xml(path: Path) -> XmlImage:
    """The objects of a file in the order they are written, each once, sound or not.

    Raises:
        BadRecord: the file is unreadable, no XML, has a document type (files of this kind need none, and it may make a
            small file huge), or names no image.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise BadRecord("unreadable file", str(path), f"is larger than {_LARGEST} bytes")
        text = read_text(path)
    except BadRecord:
        raise
    except OSError as error:
        raise BadRecord("unreadable file", str(path), unreadable(path, error).what) from error
    except SkyEyeError as error:
        raise BadRecord("unreadable file", str(path), error.what) from error
    if _ENTITIES.search(text):
        raise BadRecord("unreadable file", str(path), "declares a document type or entities")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise BadRecord("unreadable file", str(path), f"is not valid XML: {error}") from error
    filename = _text(root, "filename") or _text(root, "source/filename")
    if filename is None:
        raise BadRecord("not a record", str(path), "names no image (<filename>)")
    objects = root.findall("object") or root.findall("objects/object")
    return XmlImage(filename, _size(root), tuple(_object(o, f"{path}, object {n}") for n, o in enumerate(objects)))


def _object(element: ElementTree.Element, where: str) -> XmlObject | Problem:
    name = _text(element, "name") or _text(element, "possibleresult/name")
    if name is None:
        return Problem("unknown class", where, "has no name")
    try:
        corners = _corners(element)
    except ValueError as error:
        return Problem("malformed box", where, str(error))
    difficult = _text(element, "difficult") not in (None, "0")
    return XmlObject(where, name, corners, _text(element, "description") or "", difficult)


def _corners(element: ElementTree.Element) -> tuple[float, ...]:
    box, points = element.find("bndbox"), element.findall("points/point")
    if box is not None:
        numbers = [_number(_text(box, side), side) for side in ("xmin", "ymin", "xmax", "ymax")]
    elif points:
        numbers = [_number(word, "point") for point in points for word in (point.text or "").split(",")]
        if len(numbers) == 10 and numbers[:2] == numbers[8:]:
            numbers = numbers[:8]  # the ring is closed by naming the first corner again
        if len(numbers) != 8:
            raise ValueError(f"has {len(points)} points with {len(numbers)} numbers; four corners x,y are expected")
    else:
        raise ValueError("has neither <bndbox> nor <points>")
    return tuple(numbers)


def _number(text: str | None, what: str) -> float:
    try:
        value = math.nan if text is None else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{what} is not a number: {str(text)[:30]!r}")
    return value


def _size(root: ElementTree.Element) -> tuple[float, float] | None:
    try:
        width, height = (_number(_text(root, f"size/{side}"), side) for side in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width >= 1 and height >= 1 else None


def _text(element: ElementTree.Element, path: str) -> str | None:
    return (element.findtext(path) or "").strip() or None
