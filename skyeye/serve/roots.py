"""Files that somebody else may name: those under allowed folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skyeye.errors import SkyEyeError


def resolve_inside(name: str | Path, folders: Sequence[Path]) -> Path:
    """The file that is named, links followed.

    Args:
        name: absolute, or relative to one of the folders.
        folders: under which it must lie.

    Raises:
        SkyEyeError: it does not, or is no file. Whether something outside is there is not told.
    """
    if "\0" in str(name):
        raise SkyEyeError("a path without zero bytes is meant", where="path")
    try:
        found = [path for folder in folders if (path := (folder / name).resolve()).is_relative_to(folder.resolve())]
    except (OSError, RuntimeError):  # links in a circle
        found = []
    if not found:
        remedy = f"allowed: {', '.join(map(str, folders))}" if folders else "no folder is allowed here"
        raise SkyEyeError("lies outside the folders whose files may be named", where=str(name), remedy=remedy)
    try:
        there = next((path for path in found if path.is_file()), None)
    except OSError:
        there = None
    if there is None:
        raise SkyEyeError("there is no such file", where=str(name), remedy="check the path")
    return there
