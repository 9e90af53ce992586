"""A picture is known by the bytes of its file: under two names, or in a shard, it is one row of the cache.

So that a file is not read each time to know it, its digest is remembered together with size and times of the file. The
time of the last change of the inode is among them: it cannot be set, so a file that was replaced is read again even
where name, size and modification time are those of the old one.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

import numpy as np

from skyeye.data.images.reference import KEYS, MEMBER, format_reference, parse_reference, read_bytes
from skyeye.errors import SkyEyeError

#: A line of ``names.bin``.
NAME = np.dtype(
    [("name", "V16"), ("size", "<u8"), ("modified", "<i8"), ("changed", "<i8"), ("digest", "V32"), ("check", "<u4")]
)


class Contents:
    """Digests of pictures, with the memory of a cache's ``names.bin``."""

    def __init__(self, file: Path):
        entries = sound(read_entries(file, NAME))
        self._known = {entry["name"].tobytes(): entry for entry in entries}
        self.news: list[np.ndarray] = []  # what was read here and stands in no file yet

    def digest(self, reference: str) -> bytes:
        """SHA-256 of the picture's bytes; where bands, a stretch or a frame are chosen, of the bytes and that choice.

        Raises:
            SkyEyeError: the file is missing or cannot be read.
        """
        path, details = parse_reference(reference)
        place = {key: details.pop(key) for key in KEYS if key in MEMBER & details.keys()}
        file = format_reference(os.path.abspath(path), **place)
        name = hashlib.blake2b(os.fsencode(file), digest_size=16).digest()
        stamp = file_stamp(path)
        known = self._known.get(name)
        if known is None or (int(known["size"]), int(known["modified"]), int(known["changed"])) != stamp:
            content = hashlib.sha256(read_bytes(file)).digest()
            if file_stamp(path) != stamp:
                raise changed_meanwhile(reference)
            known = signed(np.array([(name, *stamp, content, 0)], NAME))[0]
            self._known[name] = known
            self.news.append(known)
        content = known["digest"].tobytes()
        if not details:
            return content
        return hashlib.sha256(content + format_reference("", **dict(sorted(details.items()))).encode()).digest()


def file_stamp(path: str) -> tuple[int, int, int]:
    """Size and times of a file; while they stay, its content does."""
    try:
        status = os.stat(path)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise SkyEyeError(what, where=path, remedy="check the folder of the images") from error
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def changed_meanwhile(reference: str) -> SkyEyeError:
    """The error of a file that was written while it was read."""
    return SkyEyeError("the image changed while it was read", where=reference, remedy="run it again")


def read_entries(file: Path, kind: np.dtype) -> np.ndarray:
    """The whole entries of a file; a last one that is cut off is skipped. A file that is not there has none."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return np.empty(0, kind)
    return np.frombuffer(content[: len(content) - len(content) % kind.itemsize], kind)


def signed(entries: np.ndarray) -> np.ndarray:
    """The entries, each with the CRC-32 of its other fields in ``check``."""
    entries = entries.copy()
    entries["check"] = _checks(entries)
    return entries


def sound(entries: np.ndarray) -> np.ndarray:
    """Those whose ``check`` is right."""
    return entries[is_sound(entries)]


def is_sound(entries: np.ndarray) -> np.ndarray:
    """For each entry, whether its ``check`` is right."""
    return entries["check"] == _checks(entries)


def _checks(entries: np.ndarray) -> np.ndarray:
    length = entries.dtype.itemsize - entries.dtype["check"].itemsize  # ``check`` is the last field
    raw = entries.tobytes()
    size = entries.dtype.itemsize
    return np.array([zlib.crc32(raw[at : at + length]) for at in range(0, len(raw), size)], np.uint32)
