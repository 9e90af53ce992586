"""What a reader looked at: files, folders and headers of pictures, so that it can be told later whether they are still
the same.

Everything that readers share notes what it opens; a reader that opens a file by itself calls :func:`note`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

#: (kind, path, suffixes...) -> a short hash of what was there.
Notes = dict[tuple[str, ...], str]
_notes: ContextVar[Notes | None] = ContextVar("notes", default=None)
#: Of a file so many pieces of so many bytes are looked at, besides size and time.
PIECES, PIECE = 16, 1 << 16


@contextmanager
def noting() -> Iterator[Notes]:
    """Collect what is looked at until the block ends."""
    notes: Notes = {}
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def note(kind: str, path: str | Path, *suffixes: str) -> None:
    """Note that something is going to be read.

    Args:
        kind: ``file``; ``picture``: its header; ``names``: those of the files below a folder that have one of the
            suffixes; ``others``: of those that have none of them.
    """
    notes, key = _notes.get(), (kind, str(path), *sorted(suffixes))
    if notes is not None and key not in notes:
        notes[key] = _STATES[kind](*key[1:])


def add_notes(others: Notes) -> None:
    """Take over what was noted by another process."""
    notes = _notes.get()
    if notes is not None:
        notes.update({key: state for key, state in others.items() if key not in notes})


def unchanged(notes: Iterable[tuple[tuple[str, ...], str]]) -> bool:
    """Whether everything that was noted is as it was."""
    try:
        return all(_STATES[key[0]](*key[1:]) == state for key, state in notes)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _file(path: str) -> str:
    """Size, time and pieces of the content of a file."""
    state = os.stat(path)
    digest = hashlib.blake2b(f"{state.st_size} {state.st_mtime_ns}".encode(), digest_size=16)
    with open(path, "rb") as file:
        for piece in range(PIECES):
            file.seek(piece * max(0, state.st_size - PIECE) // (PIECES - 1))
            digest.update(file.read(PIECE))
    return digest.hexdigest()


def _picture(path: str) -> str:
    try:
        state = os.stat(path)
    except OSError:  # told of each record that names it
        return "none"
    return f"{state.st_size} {state.st_mtime_ns}"


def _names(path: str, *suffixes: str) -> str:
    return _digest(names_below(path, lambda suffix: suffix in suffixes))


def _others(path: str, *suffixes: str) -> str:
    return _digest(names_below(path, lambda suffix: suffix not in suffixes))


def _digest(names: list[str]) -> str:
    return hashlib.blake2b("\n".join(names).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def names_below(root: str | Path, wanted: Callable[[str], bool]) -> list[str]:
    """Files below a folder whose suffix (in small letters) is wanted, relative to it, folder by folder.

    Linked folders are followed, a circle of links only once.
    """
    found: list[str] = []
    for folder, below, names in os.walk(root, followlinks=True):
        relative = os.path.relpath(folder, root)
        if _is_circle(root, relative):
            below.clear()
            continue
        place = "" if relative == os.curdir else f"{relative}/"
        found += [place + name for name in names if wanted(os.path.splitext(name)[1].lower())]
    # as by the parts of the paths, which as lists would be four times the memory of a million names
    return sorted(found, key=lambda name: name.replace("/", "\0"))


def _is_circle(root: str | Path, relative: str) -> bool:
    """Whether a folder is a link back to one that it lies in."""
    if relative == os.curdir:
        return False
    parts = relative.split("/")
    above = [os.path.realpath(os.path.join(root, *parts[:count])) for count in range(len(parts))]
    return os.path.realpath(os.path.join(root, relative)) in above


_STATES = {"file": _file, "picture": _picture, "names": _names, "others": _others}
