"""Sizes of images in pixels, for what cannot be said in fractions."""

from __future__ import annotations

from collections.abc import Sequence

from skyeye.data.geometry.box_text import Size
from skyeye.data.images.load import image_size
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError


def sizes(records: Sequence[Record]) -> list[Size | None]:
    """Width and height of the first image of each record: ``references['size']``, else what its file says.

    None where there is no such file: answers can be scored without the images.
    """
    unsized = {record.images[0] for record in records if record.images and "size" not in record.references}
    read = {image: _size(image) for image in unsized}
    return [record.references.get("size") or read.get(next(iter(record.images), "")) for record in records]


def _size(image: str) -> Size | None:
    try:
        return image_size(image)
    except SkyEyeError:  # a benchmark that needs the picture has said so when it was loaded
        return None
