"""``SHA256SUMS`` of a folder, in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from skyeye.data.files import write_whole
from skyeye.errors import SkyEyeError

FILE = "SHA256SUMS"


def write_checksums(folder: Path) -> None:
    """Write the checksum of every file of a folder, folders below it included, but of this file itself."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in files_of(folder) if name != FILE]
    write_whole(folder / FILE, lines)


def files_of(folder: Path) -> list[str]:
    """The files of a folder, with ``/`` between the parts of their names."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def wrong_files(folder: Path) -> Iterator[str]:
    """What differs from the folder's checksums, a sentence each.

    Raises:
        SkyEyeError: the folder has no checksums, or the file is damaged.
    """
    expected = _read(folder / FILE)
    found = files_of(folder)
    for name in found:
        if name != FILE and name not in expected:
            yield f"{name} is not listed in {FILE}"
    for name, checksum in expected.items():
        if name not in found:
            yield f"{name} is missing"
        elif _sha256(folder / name) != checksum:
            yield f"{name} is not the file that was exported: its checksum differs"


def _read(path: Path) -> dict[str, str]:
    remedy = "skyeye export writes it; export the model again"
    if not path.is_file():
        raise SkyEyeError(f"no {FILE}: the folder was not written by skyeye export", where=str(path), remedy=remedy)
    listed = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        checksum, _, name = line.partition("  ")
        if len(checksum) != 64 or not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise SkyEyeError("is no line of checksums", where=f"{path}, line {number}", remedy=remedy)
        listed[name] = checksum
    return listed


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
