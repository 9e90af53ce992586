"""The bytes of a picture as they go into a shard: as they are, unless a rendering or a re-encoding is asked for."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from skyeye.data.images.reference import MEMBER, parse_reference, read_bytes
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    from PIL import Image

_SIGNATURES = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
    (b"II+\0", "tif"),
    (b"MM\0+", "tif"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"\0\0\0\x0cjP  ", "jp2"),
)


@dataclass(frozen=True)
class Encoding:
    """How pictures are written anew.

    Attributes:
        format: file format of all pictures.
        quality: of JPEG and WebP, 1 to 100.
        max_side: larger pictures are reduced to this longer side in pixels, their aspect ratio kept; None: no limit.
    """

    format: Literal["jpeg", "png", "webp"] = "jpeg"
    quality: int = 95
    max_side: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise SkyEyeError(f"quality {self.quality} is not between 1 and 100", where="--quality")
        if self.max_side is not None and self.max_side < 1:
            raise SkyEyeError(f"a side of {self.max_side} pixels is no picture", where="--max-side")


def source_bytes(reference: str) -> bytes:
    """The bytes of a picture: of its file, or of its member in a shard. What is only a part of a file (bands of a
    GeoTIFF, a frame of a video) is rendered and written as PNG, which loses nothing.

    Raises:
        SkyEyeError: missing or unreadable.
    """
    _, details = parse_reference(reference)
    if details.keys() <= MEMBER:
        return read_bytes(reference)
    from skyeye.data.images.load import load_image

    return _written(load_image(reference), Encoding("png"))


def encode(reference: str, encoding: Encoding) -> bytes:
    """A picture written anew, turned as its EXIF entry says, in RGB with 8 bits a channel."""
    from skyeye.data.images.load import load_image

    image = load_image(reference)
    if encoding.max_side and max(image.size) > encoding.max_side:
        image.thumbnail((encoding.max_side, encoding.max_side))
    return _written(image, encoding)


def _written(image: Image.Image, encoding: Encoding) -> bytes:
    file = io.BytesIO()
    quality = {} if encoding.format == "png" else {"quality": encoding.quality}
    image.save(file, encoding.format, **quality)
    return file.getvalue()


def extension(content: bytes, reference: str) -> str:
    """Extension of a picture by its first bytes; by its name where they say nothing."""
    for signature, name in _SIGNATURES:
        if content.startswith(signature):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    suffix = PurePosixPath(parse_reference(reference)[0]).suffix[1:].lower()
    return suffix if re.fullmatch(r"[a-z0-9]{1,8}", suffix) and suffix != "json" else "bin"
