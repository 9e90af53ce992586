"""Pictures as they are sent to a server: whole, and without loss."""

from __future__ import annotations

import base64
import io

from PIL import Image

from skyeye.data.images.depth import is_deep
from skyeye.data.images.load import exif_orientation, load_image, open_picture
from skyeye.data.images.reference import parse_reference, read_bytes

#: Formats that every server reads, and in which a file is sent as it is.
_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png"}


def data_url(reference: str) -> str:
    """The picture of an image reference as a ``data:`` URL.

    A JPEG or PNG file of 8 bits that nothing turns is sent byte for byte; everything else as a PNG of what
    :func:`~skyeye.data.images.load.load_image` shows.

    Raises:
        SkyEyeError: as :func:`~skyeye.data.images.load.load_image`.
    """
    kind = _as_it_is(reference)
    if kind is not None:
        return _url(kind, read_bytes(reference))
    buffer = io.BytesIO()
    load_image(reference).save(buffer, "PNG", compress_level=1)
    return _url("image/png", buffer.getvalue())


def _as_it_is(reference: str) -> str | None:
    """The media type of a file that can be sent as it is; None: it cannot."""
    if parse_reference(reference)[1].keys() - {"offset", "size"}:
        return None
    try:
        image = open_picture(reference)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None  # load_image says what is wrong
    if image is None:
        return None
    with image:
        plain = image.mode in ("RGB", "L") and not is_deep(image) and exif_orientation(image) == 1
        return _TYPES.get(image.format or "") if plain else None


def _url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
