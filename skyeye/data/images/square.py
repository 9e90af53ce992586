"""A picture of any shape becomes a square one: what a vision tower takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from PIL import Image

#: ``stretch``: both sides to the same length; ``pad``: on a square of the mean colour; ``crop``: the middle square.
Resize = Literal["stretch", "pad", "crop"]


def to_square(image: Image.Image, size: int, how: Resize, mean: Sequence[float]) -> Image.Image:
    """A picture of ``size`` x ``size``, bicubic.

    Args:
        image: RGB.
        how: ``stretch`` keeps no aspect ratio. ``pad`` first pastes the picture into the middle of a square of the
            colour ``mean``, as LLaVA does. ``crop`` brings the shorter side to ``size`` and takes the middle, as CLIP
            does: of a long picture it shows no ends.
        mean: of the channels, 0..1.
    """
    if how == "pad":
        image = padded(image, mean)
    if how != "crop" or image.width == image.height:
        return image.resize((size, size), Image.Resampling.BICUBIC)
    short, long = sorted(image.size)
    longer = int(size * long / short)
    width, height = (size, longer) if image.width < image.height else (longer, size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return resized.crop((left, top, left + size, top + size))


def padded(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """The picture in the middle of a square of the colour ``mean`` (0..1, cut to 8 bits)."""
    if image.width == image.height:
        return image
    side = max(image.size)
    square = Image.new("RGB", (side, side), tuple(int(value * 255) for value in mean))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
