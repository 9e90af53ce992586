"""The size that an annotation states, held against the picture: boxes of one picture must not be learnt on another.

One header is read for each picture whose size is stated (40 microseconds for a JPEG in the cache of the system).
"""

from __future__ import annotations

from dataclasses import dataclass

from skyeye.data.formats.base.image_folder import ABSENT
from skyeye.data.formats.base.noted import note
from skyeye.data.formats.base.problems import BadRecord, Problem
from skyeye.data.geometry.box_text import Size
from skyeye.data.geometry.turning import SIDEWAYS
from skyeye.data.images.load import stored_size
from skyeye.data.images.reference import parse_reference
from skyeye.errors import SkyEyeError


@dataclass(frozen=True)
class Measured:
    """The picture that the boxes of an annotation were measured on.

    Attributes:
        size: width and height in pixels.
        orientation: EXIF turn from that picture to the one that is shown; 1: they are the same.
        remark: what a reader is to tell about it, with no record lost.
    """

    size: Size
    orientation: int = 1
    remark: Problem | None = None

    @property
    def shown_size(self) -> Size:
        """Width and height after the turn."""
        return self.size[::-1] if self.orientation in SIDEWAYS else self.size


def measured_on(image: str, stated: Size, where: str) -> Measured:
    """What an annotation that states a size was measured on.

    The picture may be a copy of another size but not of another shape. A picture whose EXIF entry lays it on its side
    is taken as it is stored when the annotation states that size. A picture that is not there or cannot be opened is
    left to whoever decodes it.

    Raises:
        BadRecord: ``image of another shape``.
    """
    if image.startswith(ABSENT):
        return Measured(stated)
    note("picture", parse_reference(image)[0])
    try:
        stored, orientation = stored_size(image)
    except SkyEyeError:
        return Measured(stated)
    shown = stored[::-1] if orientation in SIDEWAYS else stored
    fits_stored, fits_shown = _fits(stated, stored, shown), _fits(stated, shown, stored)
    if not fits_shown and fits_stored:
        what = f"was annotated as stored, {_text(stated)}, and is shown as {_text(shown)}; its boxes are turned, too"
        return Measured(stated, orientation, Problem("turned image", where, f"{image} {what}", by_rule=True, count=0))
    if not fits_shown:
        exchanged = ": width and height seem to be exchanged" if _same_shape(stated, shown[::-1]) else ""
        what = f"{image} is shown as {_text(shown)} pixels, its annotation says {_text(stated)}{exchanged}"
        raise BadRecord("image of another shape", where, f"{what}; its boxes would lie elsewhere")
    if orientation != 1 and fits_stored:
        what = "is turned by its EXIF entry; its boxes are taken to be of the picture as it is shown"
        return Measured(stated, 1, Problem("turned image", where, f"{image} {what}", by_rule=True, count=0))
    return Measured(stated)


def _fits(stated: Size, size: Size, other: Size) -> bool:
    """Whether a picture of ``size`` is meant; where it may also be of ``other``, equality decides over likeness."""
    return stated == size or (stated != other and _same_shape(stated, size))


def _same_shape(a: Size, b: Size) -> bool:
    """Whether one is the other at some scale, with a pixel of rounding a side."""
    low = max((side - 1) / other for side, other in zip(a, b, strict=True))
    high = min((side + 1) / other for side, other in zip(a, b, strict=True))
    return low <= high


def _text(size: Size) -> str:
    return f"{size[0]:g} x {size[1]:g}"
