"""The images of converted records: named where they lie, or copied beside the files."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.data.files import cannot_be_written, write_whole
from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.images.load import load_image
from skyeye.data.images.reference import MEMBER, parse_reference, read_bytes
from skyeye.errors import SkyEyeError

FOLDER = "images"
_SUFFIXES = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"BM", ".bmp"), (b"GIF8", ".gif"))


def root_of(sources: Iterable[SourceConfig]) -> str:
    """The folder that the images of all sources lie below."""
    places = [one.images or (one.path if os.path.isdir(one.path) else os.path.dirname(one.path)) for one in sources]
    return os.path.commonpath([os.path.abspath(place) for place in places])


class NamedImages:
    """Names relative to the folder that the images lie below; one that lies elsewhere is named absolutely.

    Args:
        root: that folder.
    """

    def __init__(self, root: str):
        self.root = root

    def name(self, reference: str, where: str) -> tuple[str, str | None]:
        """What a file calls an image, and what is lost by that.

        Raises:
            BadRecord: it is no file of its own.
        """
        path, details = parse_reference(reference)
        kinds = dict.fromkeys(MEMBER, "inside a shard or a table") | {"window": "a part of a scene"}
        kinds["frame"] = "a frame of a video"
        if kind := next((words for key, words in kinds.items() if key in details), None):
            raise BadRecord("image without a file", where, f"its image is {kind}: add --copy-images")
        lost = ", ".join(f"{key}={value}" for key, value in details.items())
        return _below(path, self.root), lost or None


class CopiedImages:
    """Copies below ``images/`` of the folder that is written, each once.

    Pictures of which a part is meant (bands, a stretch, a frame of a video) are written as they are shown, as PNG.

    Args:
        root: the folder that the images lie below now.
        out: the folder that is written.
        inside: the folder below ``out`` that names are relative to, with ``/`` at its end or empty.
    """

    def __init__(self, root: str, out: Path):
        self.root, self.out = root, out
        self._names: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()

    def name(self, reference: str, where: str, inside: str = "") -> tuple[str, str | None]:
        """As :meth:`NamedImages.name`, once the copy is there.

        Args:
            inside: the folder below the one that is written, which holds the file that names the image.

        Raises:
            BadRecord: it cannot be read.
            SkyEyeError: the copy cannot be written.
        """
        if (inside, reference) not in self._names:
            path, details = parse_reference(reference)
            content = _content(reference, details, where)
            stem, suffix = os.path.splitext(_below(path, self.root).lstrip("/").replace("../", ""))
            if details:
                stem += "_" + "_".join(f"{key}{value}".replace(",", "-") for key, value in details.items())
                suffix = _suffix(content)
            name = f"{FOLDER}/{stem}{suffix}"
            number = 2
            while (inside + name).lower() in self._taken:
                name, number = f"{FOLDER}/{stem}_{number}{suffix}", number + 1
            self._taken.add((inside + name).lower())
            _write(self.out / inside / name, content, path)
            self._names[inside, reference] = name
        return self._names[inside, reference], None


def member_bytes(reference: str, where: str) -> bytes:
    """The bytes of an image as a file of its own would hold them.

    Raises:
        BadRecord: it cannot be read.
    """
    try:
        return _content(reference, parse_reference(reference)[1], where) or read_bytes(reference)
    except SkyEyeError as error:
        raise BadRecord("unreadable image", where, str(error)) from error


def _content(reference: str, details: dict[str, str], where: str) -> bytes | None:
    """The bytes of the copy; None: those of the file."""
    try:
        if not details:
            return None
        if details.keys() <= MEMBER:
            return read_bytes(reference)
        stream = io.BytesIO()
        load_image(reference).save(stream, "PNG")
        return stream.getvalue()
    except SkyEyeError as error:
        raise BadRecord("unreadable image", where, str(error)) from error


def _write(place: Path, content: bytes | None, path: str) -> None:
    if content is not None:
        write_whole(place, content)
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    except OSError as error:
        raise cannot_be_written(error, place) from error


def _suffix(content: bytes | None) -> str:
    start = content or b""
    return next((suffix for magic, suffix in _SUFFIXES if start.startswith(magic)), ".tif")


def _below(path: str, root: str) -> str:
    """The path relative to the root; an absolute one where it lies elsewhere."""
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute, root)
    return Path(absolute if relative.startswith("..") else relative).as_posix()
