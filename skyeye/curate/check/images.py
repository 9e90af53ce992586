"""Looking at image files: can each be read, how large is it, and what does it look like."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from skyeye.data.formats.base.problems import BadRecord, image_size
from skyeye.data.images.hashing import perceptual_hash, pixel_digest
from skyeye.data.images.load import load_image
from skyeye.data.images.reference import parse_reference
from skyeye.errors import SkyEyeError

_BATCH = 256  # pictures handed to the threads at a time: what waits is bounded however many there are


@dataclass(frozen=True)
class Seen:
    """What was found out about one picture.

    Attributes:
        size: width and height in pixels; None when it cannot be read.
        error: why it cannot be read.
        pixels: digest of the decoded pixels; None when it was not decoded.
        looks: perceptual hash; None when it was not decoded, or shows one even colour.
    """

    size: tuple[int, int] | None = None
    error: str | None = None
    pixels: int | None = None
    looks: int | None = None


def look_at(reference: str, decode: bool = True) -> Seen:
    """Read one picture: in full, or (``decode=False``) only as far as its size is said."""
    path, details = parse_reference(reference)
    try:
        # a named pipe among the files would block whoever opens it
        if not stat.S_ISREG(os.stat(path).st_mode):
            return Seen(error=f"{path}: not a file")
        if not decode and not details:
            return Seen(size=image_size(path, path))
        image = load_image(reference)
    except (SkyEyeError, BadRecord) as error:
        return Seen(error=str(error))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return Seen(error=f"{path}: {getattr(error, 'strerror', None) or error}")
    if not decode:
        return Seen(size=image.size)
    return Seen(image.size, None, pixel_digest(image), perceptual_hash(image))


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
