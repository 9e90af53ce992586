"""Pictures of a request: read within limits, each once, nothing written to a disk."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from skyeye.data.file_kind import HEAD, describe_content
from skyeye.data.images.georeference import read_georeference
from skyeye.data.images.hashing import pixel_digest
from skyeye.data.images.load import image_size, load_image
from skyeye.errors import SkyEyeError
from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.api.boxes import Size
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.fetching import fetch
from skyeye.serve.api.limits import Limits, Sources
from skyeye.serve.pictures import Reduced
from skyeye.serve.roots import resolve_inside

#: Pictures whose pixels for the model are kept: one that is sent again is not decoded again.
KEPT = 64
#: First bytes of what is decoded. A format that names other files or addresses is not among them.
_PLACED = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ")  # those that may say where they lie
_KINDS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", *_PLACED)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PARAM = "messages"
_SHOWN = 60  # characters of an address in a message


@dataclass(frozen=True)
class Received:
    """A picture of a request.

    Attributes:
        given: what the model is given of it.
        size: of the picture itself.
    """

    given: Reduced
    size: Size


class PictureReader:
    """Reads the pictures that requests name; from several threads at once.

    Attributes:
        hits, misses: pictures that were still there, and that were decoded.
    """

    def __init__(self, processor: SkyEyeProcessor, limits: Limits, sources: Sources):
        self.processor, self.limits, self.sources = processor, limits, sources
        self.hits = self.misses = 0
        self._kept: OrderedDict[bytes, Received] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, url: str) -> Received:
        """The picture of a data URL, or of an address or path that is allowed.

        Raises:
            ApiError: it is not allowed, no picture, or too large.
        """
        content = self._content(url)
        key = hashlib.sha256(content).digest()
        with self._lock:
            if found := self._kept.get(key):
                self._kept.move_to_end(key)
                self.hits += 1
                return found
            self.misses += 1
        found = self._decoded(content, _short(url))
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _content(self, url: str) -> bytes:
        scheme = found[1].lower() if (found := _SCHEME.match(url)) else ""
        if scheme == "data":
            return _of_data_url(url)
        if scheme in ("http", "https"):
            return fetch(url, self.sources, self.limits.body_bytes, self.limits.seconds_to_send)
        if scheme not in ("", "file"):
            what = f"{_short(url)}: pictures come as data URLs (data:image/png;base64,...)"
            raise ApiError(what, param=_PARAM)
        try:
            path = resolve_inside(unquote(urlsplit(url).path) if scheme else url, self.sources.folders)
            if path.stat().st_size > self.limits.body_bytes:
                raise ApiError(f"{_short(url)} has more than {self.limits.body_bytes:,} bytes", param=_PARAM)
            return path.read_bytes()
        except SkyEyeError as error:
            raise ApiError(str(error), param=_PARAM) from error
        except OSError as error:
            raise ApiError(f"{_short(url)} cannot be read: {error.strerror}", param=_PARAM) from error

    def _decoded(self, content: bytes, name: str) -> Received:
        _check_kind(content, name)
        with as_file(content) as path:
            try:
                width, height = image_size(path)
                if width * height > self.limits.pixels:
                    what = f"the picture has {width} x {height} pixels, more than {self.limits.pixels:,}"
                    raise ApiError(
                        f"{what}; cut it into tiles (skyeye data tile)", param=_PARAM, code="image_too_large"
                    )
                image = load_image(path)
                place = read_georeference(path) if content.startswith(_PLACED) else None
            except SkyEyeError as error:
                raise ApiError(f"{name}: {error.what}", param=_PARAM, code="invalid_image") from error
        given = Reduced(self.processor.pixels(image), pixel_digest(image))
        return Received(given, Size(*image.size, place))


def _check_kind(content: bytes, name: str) -> None:
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if content.startswith(_KINDS) or is_webp:
        return
    what, remedy = describe_content(content[:HEAD]) or ("of an unknown kind", "")
    message = f"{name}: not a picture: it is {what}" + (f" ({remedy})" if remedy else "")
    raise ApiError(message, param=_PARAM, code="invalid_image")


def _of_data_url(url: str) -> bytes:
    head, comma, data = url.partition(",")
    if not comma:
        raise ApiError("a data URL without a comma: data:image/png;base64,...", param=_PARAM, code="invalid_image")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode("".join(unquote(data).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        what = f"the data URL is damaged or cut off ({error}): {len(data):,} characters of base64"
        raise ApiError(what, param=_PARAM, code="invalid_image") from error


@contextmanager
def as_file(content: bytes) -> Iterator[str]:
    """The name of a file with this content: in memory, where the system has such files."""
    if not hasattr(os, "memfd_create"):
        with NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
        return
    with os.fdopen(os.memfd_create("skyeye-picture"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _short(url: str) -> str:
    return url if len(url) <= _SHOWN else f"{url[:_SHOWN]}..."
