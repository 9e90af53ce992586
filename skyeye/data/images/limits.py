"""How large a picture may be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from skyeye.errors import SkyEyeError

#: Pictures with more pixels are not decoded whole: Pillow's own limit, written out so that no setting moves it.
MAX_PIXELS = 178_956_970
TOO_LARGE = "cut it into tiles with `skyeye data tile`"
_lifting = threading.Lock()


def check_pixels(width: int, height: int, where: str) -> None:
    """Raises :class:`SkyEyeError` for a picture that is too large to decode whole."""
    if width * height > MAX_PIXELS:
        what = f"the image has {width} x {height} pixels, more than {MAX_PIXELS}"
        raise SkyEyeError(what, where=where, remedy=TOO_LARGE)


@contextmanager
def any_size() -> Iterator[None]:
    """Pillow opens pictures of any size inside this block; only for headers and for windows of a picture."""
    with _lifting:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
