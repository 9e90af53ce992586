"""Looking at image files: can each be read, how large is it, and what does it look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from skyeye.data.images.hashing import perceptual_hash, pixel_digest
from skyeye.data.images.load import image_size, load_image
from skyeye.errors import SkyEyeError

#: Grey levels of 256: of 2,543 published aerial pictures none has less between its darkest and brightest hundredth.
FLAT = 16

_BATCH = 256  # pictures handed to the threads at a time: what waits is bounded however many there are


@dataclass(frozen=True)
class Seen:
    """What was found out about one picture.

    Attributes:
        size: width and height in pixels; None when it cannot be read.
        error: why it cannot be read.
        pixels: digest of the decoded pixels; None when it was not decoded.
        looks: perceptual hash; None when it was not decoded, or shows one even colour.
        levels: grey levels from the darkest to the brightest hundredth of the pixels, in the channel where they are
            most; None when it was not decoded.
    """

    size: tuple[int, int] | None = None
    error: str | None = None
    pixels: int | None = None
    looks: int | None = None
    levels: int | None = None


def look_at(reference: str, decode: bool = True) -> Seen:
    """Read one picture: in full, or (``decode=False``) only as far as its size is said."""
    try:
        if not decode:
            return Seen(size=image_size(reference))
        image = load_image(reference)
    except SkyEyeError as error:
        return Seen(error=str(error))
    return Seen(image.size, None, pixel_digest(image), perceptual_hash(image), grey_levels(image))


def grey_levels(image: Image.Image) -> int:
    """Levels between the darkest and the brightest hundredth of the pixels, of the channel where they are most."""
    reached = np.array(image.histogram()).reshape(-1, 256).cumsum(axis=1) / (image.width * image.height)
    return max(int(np.searchsorted(channel, 0.99) - np.searchsorted(channel, 0.01)) for channel in reached)


def look_at_all(
    references: Sequence[str],
    decode: bool = True,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Seen]:
    """:func:`look_at` for many, in order. Threads suffice: Pillow decodes outside Python's lock.

    Args:
        progress: called with (images looked at, images).
    """
    done = 0
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        for start in range(0, len(references), _BATCH):
            for seen in pool.map(partial(look_at, decode=decode), references[start : start + _BATCH]):
                done += 1
                if progress is not None:
                    progress(done, len(references))
                yield seen
