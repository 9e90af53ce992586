"""Files written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from skyeye.errors import SkyEyeError


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write to under a temporary name beside ``path``. It gets its name when the block ends without error and
    all of it is on the disk; otherwise nothing is left of it.

    Raises:
        SkyEyeError: it cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "make room and run it again, or choose another place"
        raise SkyEyeError(f"cannot be written: {reason}", where=str(path), remedy=remedy) from error
    finally:
        partial.unlink(missing_ok=True)


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
        reason = error.strerror or str(error)
        remedy = "make room or mend the permissions, then go on with --resume"
        raise SkyEyeError(f"cannot be written: {reason}", where=str(path), remedy=remedy) from error


def write_json(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Write a value as JSON by :func:`whole_file`."""
    write_whole(path, json.dumps(value, indent=indent) + "\n")
