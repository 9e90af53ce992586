"""Files written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from skyeye.errors import SkyEyeError, of_the_system

#: Of a file so many pieces of so many bytes, spread evenly, make its fingerprint: a language model has tens of
#: gigabytes.
PIECES, PIECE = 64, 1 << 16
#: What ``fsync`` of a folder answers where there is no such thing.
_NOT_FOR_FOLDERS = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EISDIR)
_PROBE = 4096  # bytes that are written to try a place


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write to under a temporary name beside ``path``. It gets its name when the block ends without error and
    all of it is on the disk; otherwise nothing is left of it. A device or a pipe (``/dev/stdout``) is written to.

    Raises:
        SkyEyeError: it cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    partial = _partial(path)
    try:
        if _is_stream(path):
            with path.open("wb") as file:
                yield file
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise cannot_be_written(error, path) from error
    finally:
        with suppress(OSError):  # of a place that does not exist, or can only be read
            partial.unlink()


def flush_to_disk(path: str | Path) -> None:
    """``fsync`` of a file, or of a folder: of the names in it.

    Some mounts (over a network, of other systems) know that of files only; a folder there is left to them.

    Raises:
        OSError: it cannot be opened, or a disk failed.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS or not os.path.isdir(path):
            raise


def cannot_be_written(error: Exception, path: str | Path) -> SkyEyeError:
    """Why nothing can be written at ``path``, in words."""
    told = of_the_system(error)
    return SkyEyeError(f"cannot be written: {told.what}", where=str(path), remedy=told.remedy)


def check_new_file(path: str | Path) -> None:
    """Try whether a file could be written at ``path``, before an hour of work for it. Nothing is left of the attempt.

    Raises:
        SkyEyeError: it could not.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not _is_stream(path):
            _try_below(path.parent, _partial(path).name)
    except OSError as error:
        raise cannot_be_written(error, path) from error


def check_new_folder(path: str | Path) -> None:
    """The same for a folder that files will be written to; it may exist."""
    path = Path(path)
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.EEXIST, os.strerror(errno.EEXIST))
        _try_below(path, f".{os.getpid()}.partial")
    except OSError as error:
        raise cannot_be_written(error, path) from error


def _try_below(folder: Path, name: str) -> None:
    """Write some bytes where ``folder`` is, or would be made: rights alone do not say that a disk is full."""
    there = next(part for part in (folder, *folder.parents) if part.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    for missing in folder.parts[len(there.parts) :]:
        if len(os.fsencode(missing)) > os.pathconf(there, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    probe = there / name
    try:
        with probe.open("wb") as file:
            file.write(bytes(_PROBE))
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            probe.unlink()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _is_stream(path: Path) -> bool:
    """Whether something is there that is written to as it is, and must not be replaced."""
    return str(path) in ("/dev/stdout", "/dev/stderr") or (path.exists() and not path.is_file() and not path.is_dir())


def write_whole(path: str | Path, parts: str | bytes | Iterable[str]) -> None:
    """Write a file by :func:`whole_file`.

    Args:
        parts: the content; of a text also its parts, one after the other. Text is written as UTF-8.
    """
    with whole_file(path) as file:
        for part in [parts] if isinstance(parts, (str, bytes)) else parts:
            file.write(part if isinstance(part, bytes) else part.encode("utf-8", "backslashreplace"))


def append_line(path: str | Path, line: str) -> None:
    """Add a line to a text file. Half a line at its end, of a process that was killed in writing, is ended first.

    Raises:
        SkyEyeError: it cannot be written, for instance because the disk is full.
    """
    try:
        with open(path, "ab+") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            broken = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * broken + line.encode("utf-8", "backslashreplace") + b"\n")
    except OSError as error:
        told = of_the_system(error)
        remedy = f"{told.remedy}; a run goes on with --resume"
        raise SkyEyeError(f"cannot be written: {told.what}", where=str(path), remedy=remedy) from error


def write_json(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Write a value as JSON by :func:`whole_file`."""
    write_whole(path, json.dumps(value, indent=indent) + "\n")


def file_fingerprint(path: Path, names: Iterable[str] = ("*",)) -> str:
    """A short hash of a file, or of the files directly in a folder that have these names (patterns): names, sizes and
    pieces of their content."""
    digest = hashlib.blake2b(digest_size=8)
    inside = sorted({file for name in names for file in path.glob(name)}) if path.is_dir() else [path]
    for file in inside:
        if not file.is_file():
            continue
        size = file.stat().st_size
        digest.update(f"{file.name if path.is_dir() else ''}\0{size}\0".encode("utf-8", "surrogateescape"))
        with open(file, "rb") as stream:
            for piece in range(PIECES):
                stream.seek(piece * max(0, size - PIECE) // (PIECES - 1))
                digest.update(stream.read(PIECE))
                if size <= PIECE:
                    break
    return digest.hexdigest()


def cache_folder(kind: str) -> Path:
    """Where what can be made again is kept: below ``$SKYEYE_CACHE``, else ``$XDG_CACHE_HOME/skyeye``, else
    ``~/.cache/skyeye``."""
    own, common = os.environ.get("SKYEYE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own or (Path(common) / "skyeye" if common else "~/.cache/skyeye")).expanduser() / kind
