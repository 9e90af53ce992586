"""Every way in which a picture can fail to be read becomes one :class:`SkyEyeError` of one line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from skyeye.data.file_kind import HEAD, describe_content
from skyeye.data.images.limits import TOO_LARGE
from skyeye.data.images.reference import parse_reference, read_bytes
from skyeye.errors import SkyEyeError

_FETCH = "download it again or remove its records"
_FOLDER = "check the folder of the images"
_LONGEST = 200  # characters of another library's message


@contextmanager
def decoding(where: str) -> Iterator[None]:
    """Whatever is raised inside is about the picture ``where``.

    Pillow, GDAL, FFmpeg and numpy raise what their parsers meet, from ``struct.error`` to ``TypeError`` and
    ``MemoryError``. One picture must never end a check or a run that can go on without it.

    Raises:
        SkyEyeError: instead of every other ``Exception``.
    """
    try:
        yield
    except SkyEyeError:
        raise
    except Exception as error:
        raise _explained(error, where) from error


def check_is_file(path: str, where: str) -> None:
    """Refuse what only has the name of a picture: nothing, a folder, or a named pipe (which would block its reader).

    Raises:
        SkyEyeError: not a regular file.
        OSError, ValueError: see :func:`decoding`.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise SkyEyeError("is a folder, not a picture", where=where, remedy=_FOLDER)
    if not stat.S_ISREG(mode):
        raise SkyEyeError("is a pipe or device, not a file", where=where, remedy=_FOLDER)


def not_an_image(reference: str) -> SkyEyeError:
    """The error for a file of which no library says that it is a picture: what it is instead."""
    described = describe_content(first_bytes(reference))
    if described is None:
        what = "not an image: neither Pillow nor rasterio knows it"
        return SkyEyeError(what, where=reference, remedy=_FETCH)
    what, remedy = described
    if what.startswith("empty"):
        return SkyEyeError(f"the image file is {what}", where=reference, remedy=_FETCH)
    return SkyEyeError(f"not an image: it is {what}", where=reference, remedy=remedy)


def first_bytes(reference: str) -> bytes:
    """The first bytes of the picture that is meant, in its own file or in a shard."""
    path, details = parse_reference(reference)
    if "row" in details:
        return read_bytes(reference)[:HEAD]
    with open(path, "rb") as file:
        file.seek(int(details.get("offset", 0)))
        return file.read(min(HEAD, int(details.get("size", HEAD))))


def _explained(error: Exception, where: str) -> SkyEyeError:
    if isinstance(error, FileNotFoundError):
        return SkyEyeError("the image is missing", where=where, remedy=_FOLDER)
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return SkyEyeError(f"the image has more than {limit} pixels", where=where, remedy=TOO_LARGE)
    if isinstance(error, MemoryError):
        return SkyEyeError("decoding needs more memory than is free", where=where, remedy=TOO_LARGE)
    if isinstance(error, OSError) and error.errno is not None:
        what = f"the image cannot be opened: {error.strerror or error}"
        return SkyEyeError(what, where=where, remedy="it must be a readable file")
    if "See previous exception" in str(error) and isinstance(error.__cause__, Exception):  # rasterio's
        error = error.__cause__
    words = " ".join(str(error).split())[:_LONGEST]
    what = f"the image is truncated or damaged ({type(error).__name__}{': ' if words else ''}{words})"
    return SkyEyeError(what, where=where, remedy=_FETCH)
