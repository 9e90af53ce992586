"""Image references become RGB pictures, and pictures the pixel tensors of MiniGPT-v2."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from skyeye.data.images.limits import TOO_LARGE, any_size, check_pixels
from skyeye.data.images.reference import parse_reference, read_bytes
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    import torch

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def load_image(reference: str | Path, exif_rotation: bool = True) -> Image.Image:
    """The picture of an image reference in RGB, 8 bits a channel, fully decoded.

    Alpha is dropped and palettes, grey and CMYK are converted as PIL does it; 16-bit grey is scaled from its full range
    (PIL would clip it to white). Of several frames the first is taken. A reference with ``bands`` or ``stretch``, and a
    TIFF that Pillow does not know (more than four bands, say), is read by :mod:`skyeye.data.images.raster`; ``frame``
    is one frame of a video (:mod:`skyeye.data.images.frames`).

    Args:
        reference: image file, with what of it is meant; see :mod:`skyeye.data.images.reference`.
        exif_rotation: turn the picture the way its EXIF entry says. Reference: False.

    Raises:
        SkyEyeError: missing, empty, truncated, not an image, more than :data:`~skyeye.data.images.limits.MAX_PIXELS`
            pixels, of an unsupported depth, or of a kind that needs an extra which is not installed.
    """
    path, details = parse_reference(reference)
    where = str(reference)
    if "frame" in details:
        from skyeye.data.images.frames import read_frame

        return read_frame(path, details["frame"], where)
    if "bands" in details or "stretch" in details:
        from skyeye.data.images.raster import load_raster

        return load_raster(reference)
    try:
        image = Image.open(as_file(reference))
    except UnidentifiedImageError as error:
        if _is_tiff(reference):
            from skyeye.data.images.raster import load_raster

            return load_raster(reference)
        raise _not_an_image(reference) from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise SkyEyeError(f"the image has more than {limit} pixels", where=where, remedy=TOO_LARGE) from error
    except OSError as error:
        raise _unreadable(error, where) from error
    with image:
        check_pixels(*image.size, where)
        try:
            if exif_rotation:
                ImageOps.exif_transpose(image, in_place=True)  # else it would copy every picture that stands upright
            image.load()
        except Exception as error:  # Pillow's readers raise what their parsers raise, from OSError to struct.error
            raise SkyEyeError(
                f"the image is truncated or damaged ({type(error).__name__}: {error})",
                where=where,
                remedy="download it again or remove its records",
            ) from error
        return to_rgb(image, where)


def image_size(reference: str | Path) -> tuple[int, int]:
    """Width and height in pixels of the picture that :func:`load_image` would give, from the header alone.

    Pictures beyond :data:`~skyeye.data.images.limits.MAX_PIXELS` have a size, too.

    Raises:
        SkyEyeError: missing, not an image, or of a kind that needs an extra which is not installed.
    """
    path, details = parse_reference(reference)
    if "frame" in details:
        from skyeye.data.images.frames import frame_size

        return frame_size(path)
    if "bands" in details or "stretch" in details:
        from skyeye.data.images.raster import raster_size

        return raster_size(reference)
    try:
        with any_size(), Image.open(as_file(reference)) as image:
            # Pillow turns the size of a TIFF itself, and would decode a PNG to look for the entry behind the pixels
            turned = image.format not in ("TIFF", "PNG") or (image.format == "PNG" and "exif" in image.info)
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1) if turned else 1
            return image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
    except UnidentifiedImageError as error:
        if _is_tiff(reference):
            from skyeye.data.images.raster import raster_size

            return raster_size(reference)
        raise _not_an_image(reference) from error
    except OSError as error:
        raise _unreadable(error, str(reference)) from error
    except (SyntaxError, ValueError) as error:
        raise SkyEyeError(
            f"the header is damaged: {error}", where=str(reference), remedy="download it again"
        ) from error


def to_rgb(image: Image.Image, where: str = "image") -> Image.Image:
    """A picture in RGB, 8 bits a channel; see :func:`load_image`. ``where`` is named in the error of a bad depth."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise SkyEyeError(
                f"pixels of type {values.dtype} from {values.min()} to {values.max()} have no defined brightness",
                where=where,
                remedy="convert the image to 8 bits a channel, or set options.stretch of the source, e.g. 2,98",
            )
        image = Image.fromarray((values // 256).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB is the same, with a warning for each image
    return image if image.mode == "RGB" else image.convert("RGB")  # converting to the same copies all pixels


def to_pixels(image: Image.Image, size: int, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Pixel tensor of an RGB picture: bicubic to ``size`` x ``size`` (the aspect ratio is not kept), normalised.

    Returns:
        float32 (3, size, size), the channels scaled to 0..1, less ``mean``, divided by ``std``.
    """
    import torch  # here, because checking and packing data need no torch

    resized = image.resize((size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous().float() / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def as_file(reference: str | Path) -> str | BinaryIO:
    """What Pillow opens: the path, or the bytes of a picture in a shard."""
    path, details = parse_reference(reference)
    return io.BytesIO(read_bytes(reference)) if "offset" in details else path


def _is_tiff(reference: str | Path) -> bool:
    path, details = parse_reference(reference)
    with open(path, "rb") as file:
        file.seek(int(details.get("offset", 0)))
        return file.read(4) in _TIFF


def _not_an_image(reference: str | Path) -> SkyEyeError:
    path, details = parse_reference(reference)
    empty = "offset" not in details and Path(path).stat().st_size == 0
    what = "the image file is empty (0 bytes)" if empty else "not an image that Pillow can read"
    return SkyEyeError(what, where=str(reference), remedy="download it again or remove its records")


def _unreadable(error: OSError, where: str) -> SkyEyeError:
    if isinstance(error, FileNotFoundError):
        return SkyEyeError("the image is missing", where=where, remedy="check the folder of the images")
    what = f"the image cannot be opened: {error.strerror or error}"
    return SkyEyeError(what, where=where, remedy="it must be a readable file")
