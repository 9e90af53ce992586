"""Whether Pillow hands over every value of a picture, or cuts those of more than 8 bits to their upper byte."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

_CODESTREAM = b"\xffO\xffQ"  # of JPEG 2000; its parameters follow
_LOOKED_AT = 1 << 16  # bytes of a JPEG 2000 file in front of its pixels


def is_deep(image: Image.Image) -> bool:
    """Whether the file holds values that are no brightness of 8 bits yet: more bits, or a sign.

    Args:
        image: opened, not yet decoded.
    """
    if image.mode.startswith(("I", "F")):
        return True
    if image.format == "TIFF":
        bits, kinds = (np.atleast_1d(image.tag_v2.get(tag, 1)) for tag in (258, 339))  # type: ignore[attr-defined]
        return bool(max(bits) > 8 or set(kinds.tolist()) & {2, 3, 5, 6})  # signed, float, complex
    if image.format == "JPEG2000":
        return _jpeg_2000_bits(image) > 8
    return any(_cuts(tile[3]) for tile in getattr(image, "tile", ()))


def keeps_values(image: Image.Image) -> bool:
    """Whether Pillow's picture of a :func:`deep <is_deep>` file has the values of the file."""
    rawmode = next((_rawmode(tile[3]) for tile in getattr(image, "tile", ())), "")
    return image.mode.startswith(("I", "F")) and not rawmode.startswith("I;32N")  # unsigned ones arrive with a sign


def _rawmode(arguments: Any) -> str:
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _cuts(arguments: Any) -> bool:
    """Whether a decoder of Pillow's is asked for 8 bits of 16: ``RGB;16B``, or a PPM whose white is above 255."""
    if isinstance(arguments, tuple) and len(arguments) == 2 and isinstance(arguments[1], int):
        return arguments[0] in ("RGB", "L") and arguments[1] > 255
    return ";16" in _rawmode(arguments) and not _rawmode(arguments).startswith("BGR;1")  # 5 or 6 bits a channel


def _jpeg_2000_bits(image: Image.Image) -> int:
    """Bits of the deepest component, from the parameters of the codestream (ISO 15444-1, A.5.1)."""
    file = image.fp  # type: ignore[attr-defined]  # of every picture that was opened from a file
    before = file.tell()
    file.seek(0)
    head = file.read(_LOOKED_AT)
    file.seek(before)
    start = head.find(_CODESTREAM)
    if start < 0:
        return 8
    count = int.from_bytes(head[start + 40 : start + 42], "big")
    depths = head[start + 42 : start + 42 + 3 * count : 3]
    return max((depth & 0x7F) + 1 + (depth >> 7) for depth in depths) if depths else 8  # the upper bit: a sign
