"""Image files become RGB pictures, and pictures the pixel tensors of MiniGPT-v2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from skyeye.errors import SkyEyeError


def load_image(path: str | Path, exif_rotation: bool = True) -> Image.Image:
    """The picture of a file in RGB, 8 bits a channel, fully decoded.

    Alpha is dropped and palettes, grey and CMYK are converted as PIL does it; 16-bit grey is scaled from its full range
    (PIL would clip it to white). Of several frames the first is taken.

    Args:
        path: image file.
        exif_rotation: turn the picture the way its EXIF entry says. Reference: False.

    Raises:
        SkyEyeError: missing, empty, truncated, not an image, larger than Pillow's limit, or of an unsupported depth.
    """
    where = str(path)
    try:
        image = Image.open(path)
    except FileNotFoundError as error:
        raise SkyEyeError("the image is missing", where=where, remedy="check the folder of the images") from error
    except Image.DecompressionBombError as error:
        limit = 2 * Image.MAX_IMAGE_PIXELS
        raise SkyEyeError(f"the image has more than {limit} pixels", where=where, remedy="cut it into tiles") from error
    except UnidentifiedImageError as error:
        empty = Path(path).stat().st_size == 0
        what = "the image file is empty (0 bytes)" if empty else "not an image that Pillow can read"
        raise SkyEyeError(what, where=where, remedy="download it again or remove its records") from error
    except OSError as error:
        what = f"the image cannot be opened: {error.strerror or error}"
        raise SkyEyeError(what, where=where, remedy="it must be a readable file") from error
    with image:
        try:
            if exif_rotation:
                image = ImageOps.exif_transpose(image)
            image.load()
        except Exception as error:  # Pillow's readers raise what their parsers raise, from OSError to struct.error
            raise SkyEyeError(
                f"the image is truncated or damaged ({type(error).__name__}: {error})",
                where=where,
                remedy="download it again or remove its records",
            ) from error
        return to_rgb(image, where)


def to_rgb(image: Image.Image, where: str = "image") -> Image.Image:
    """A picture in RGB, 8 bits a channel; see :func:`load_image`. ``where`` is named in the error of a bad depth."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise SkyEyeError(
                f"pixels of type {values.dtype} from {values.min()} to {values.max()} have no defined brightness",
                where=where,
                remedy="convert the image to 8 bits a channel",
            )
        image = Image.fromarray((values // 256).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB is the same, with a warning for each image
    return image.convert("RGB")


def to_pixels(image: Image.Image, size: int, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Pixel tensor of an RGB picture: bicubic to ``size`` x ``size`` (the aspect ratio is not kept), normalised.

    Returns:
        float32 (3, size, size), the channels scaled to 0..1, less ``mean``, divided by ``std``.
    """
    resized = image.resize((size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous().float() / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
