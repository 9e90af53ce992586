"""The files of a data set that consists of many: which of a folder are meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skyeye.errors import SkyEyeError


def annotation_files(
    folder: Path, *patterns: str, fits: Callable[[Path], object] = bool, called: str | None = None
) -> list[Path]:
    """The files of a folder that fit one of the patterns, sorted, without what :func:`of_macos` passes over.

    Args:
        folder: where they lie.
        patterns: as ``Path.glob`` takes them; ``**/*.xml`` also looks below.
        fits: whether a file is one, where a pattern does not say it.
        called: what is looked for, in the message; default: the patterns.

    Raises:
        SkyEyeError: there is none, or ``folder`` is a file.
    """
    if folder.is_file():
        raise SkyEyeError("is a file, not the folder of a data set", where=str(folder), remedy="give the folder")
    named = {
        file
        for pattern in patterns
        for file in folder.glob(pattern)
        if not of_macos(file.relative_to(folder).as_posix())
    }
    found = sorted(file for file in named if fits(file))
    if not found:
        called = called or " or ".join(pattern.removeprefix("**/") for pattern in patterns) + " file"
        raise SkyEyeError(f"no {called} in this folder", where=str(folder), remedy="check `path:` of this source")
    return found


def of_macos(name: str) -> bool:
    """Whether a path below a data set is what macOS leaves beside every file in archives and on foreign disks.

    ``._a.xml`` and ``__MACOSX/._a.xml`` bear the name of ``a.xml`` and hold its attributes.
    """
    *folders, last = name.split("/")
    return last.startswith("._") or "__MACOSX" in folders
