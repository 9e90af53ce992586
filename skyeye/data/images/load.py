"""Image references become RGB pictures, and pictures the pixel tensors of MiniGPT-v2."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from skyeye.data.geometry.turning import SIDEWAYS
from skyeye.data.images.depth import is_deep
from skyeye.data.images.failures import check_is_file, decoding, not_an_image
from skyeye.data.images.limits import any_size, check_pixels
from skyeye.data.images.raster import knows, open_raster
from skyeye.data.images.reference import MEMBER, parse_reference, parse_window, read_bytes
from skyeye.data.images.square import Resize, to_square
from skyeye.data.images.stretch import load_raster, stretched
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    import torch


def load_image(reference: str | Path, exif_rotation: bool = True) -> Image.Image:
    """The picture of an image reference in RGB, 8 bits a channel, fully decoded.

    Alpha is dropped and palettes, grey and CMYK are converted as PIL does it. Everything of more than 8 bits, whatever
    its bands, tags and container, is shown by the rule of :mod:`skyeye.data.images.stretch`; Pillow would keep the
    upper byte, or clip to white. Of several frames the first is taken. A reference with ``bands`` or ``stretch``, and a
    raster that Pillow does not know, is read by :mod:`skyeye.data.images.raster`; ``frame`` is one frame of a video
    (:mod:`skyeye.data.images.frames`), ``window`` a part of a large picture (:mod:`skyeye.data.images.windowed`).

    Args:
        reference: image file, with what of it is meant; see :mod:`skyeye.data.images.reference`.
        exif_rotation: turn the picture the way its EXIF entry says. Reference: False.

    Raises:
        SkyEyeError: whatever keeps the picture from being read, see :mod:`skyeye.data.images.failures`: missing, empty,
            truncated, not an image, more than :data:`~skyeye.data.images.limits.MAX_PIXELS` pixels, complex numbers, or
            of a kind that needs an extra which is not installed.
    """
    path, details = parse_reference(reference)
    where = str(reference)
    with decoding(where):
        if "frame" in details:
            from skyeye.data.images.frames import read_frame

            return read_frame(path, details["frame"], where)
        if "window" in details:
            from skyeye.data.images.windowed import read_window

            return read_window(reference)
        image = open_picture(reference)
        if image is None:
            return load_raster(reference)
        with image:
            orientation = exif_orientation(image) if exif_rotation else 1
            if details.keys() & {"bands", "stretch"} or is_deep(image):
                return _turned(load_raster(reference), orientation)
            check_pixels(*image.size, where)
            try:
                if exif_rotation:
                    ImageOps.exif_transpose(
                        image, in_place=True
                    )  # else it would copy every picture that stands upright
                image.load()
            except Exception as error:
                if image.format not in ("TIFF", "JPEG2000"):
                    raise
                return _turned(_by_rasterio(reference, error), orientation)
            return to_rgb(image, where)


def image_size(reference: str | Path) -> tuple[int, int]:
    """Width and height in pixels of the picture that :func:`load_image` would give, from the header alone.

    Pictures beyond :data:`~skyeye.data.images.limits.MAX_PIXELS` have a size, too.

    Raises:
        SkyEyeError: missing, not an image, or of a kind that needs an extra which is not installed.
    """
    size, orientation = stored_size(reference)
    return size[::-1] if orientation in SIDEWAYS else size


def stored_size(reference: str | Path) -> tuple[tuple[int, int], int]:
    """Width and height in pixels before the turn that the EXIF entry asks for, and that entry (1: no turn).

    Raises:
        SkyEyeError: as :func:`image_size`.
    """
    path, details = parse_reference(reference)
    with decoding(str(reference)):
        if "frame" in details:
            from skyeye.data.images.frames import frame_size

            return frame_size(path), 1
        if "window" in details:
            left, top, right, bottom = parse_window(details["window"], str(reference))
            return (right - left, bottom - top), 1
        image = open_picture(reference, large=True)
        if image is None:
            with open_raster(reference) as raster:
                return raster.size, 1
        with image:
            orientation = exif_orientation(image)
            # Pillow turns the size of a TIFF by itself
            turned = image.format == "TIFF" and orientation in SIDEWAYS
            return image.size[::-1] if turned else image.size, orientation


def open_picture(reference: str | Path, large: bool = False) -> Image.Image | None:
    """A picture opened by Pillow and not yet decoded; None: it is for rasterio alone.

    Args:
        large: allow any size; for headers and for windows.

    Raises:
        SkyEyeError: neither of the two knows it. And whatever Pillow raises: use it inside
            :func:`~skyeye.data.images.failures.decoding`.
    """
    path, details = parse_reference(reference)
    check_is_file(path, str(reference))
    source = io.BytesIO(read_bytes(reference)) if details.keys() & MEMBER else path
    try:
        with any_size() if large else nullcontext():
            return Image.open(source)
    except UnidentifiedImageError as error:
        if knows(reference):
            return None
        raise not_an_image(str(reference)) from error


def exif_orientation(image: Image.Image) -> int:
    """How a picture is to be turned before it is shown, 1 (not at all) to 8, as EXIF counts."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode it to look for the entry behind the pixels
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found if found in range(1, 9) else 1


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _by_rasterio(reference: str | Path, error: Exception) -> Image.Image:
    """A raster that Pillow cannot decode: its compression is one of GDAL's, or it is damaged and ``error`` stands."""
    try:
        return load_raster(reference)
    except SkyEyeError:
        raise error from None


def to_rgb(image: Image.Image, where: str = "image") -> Image.Image:
    """A picture in RGB, 8 bits a channel; see :func:`load_image`. ``where`` is named in an error."""
    if image.mode.startswith(("I", "F")):
        return stretched(np.ma.masked_invalid(np.asarray(image)[None]), None, where)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB is the same, with a warning for each image
    return image if image.mode == "RGB" else image.convert("RGB")  # converting to the same copies all pixels


def to_pixels(
    image: Image.Image, size: int, mean: Sequence[float], std: Sequence[float], resize: Resize = "stretch"
) -> torch.Tensor:
    """Pixel tensor of an RGB picture: made square (:func:`skyeye.data.images.square.to_square`), normalised.

    Returns:
        float32 (3, size, size), the channels scaled to 0..1, less ``mean``, divided by ``std``.
    """
    import torch  # here, because checking and packing data need no torch

    square = to_square(image, size, resize, mean)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous().float() / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
