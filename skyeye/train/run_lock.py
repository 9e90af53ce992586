"""One process writes a run folder: it holds a lock that dies with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyeye.data.locks import NO_LOCKS, lock_file, unlock
from skyeye.errors import SkyEyeError
from skyeye.launch import rank

LOCK = ".lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run folder, made where it is not there; what was made and is empty in the end is removed again.

    To be entered by all processes of a run: the first one writes, so it holds the folder for all.

    Raises:
        SkyEyeError: another run holds it, or it cannot be made or written to.
    """
    if rank() != 0:
        yield
        return
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    handle = None
    try:
        handle = _take(folder)
        yield
    finally:
        if handle is not None:
            (folder / LOCK).unlink(missing_ok=True)
            unlock(handle)
        _remove_empty(made)


def _take(folder: Path) -> int | None:
    """The handle that holds the lock; None where the file system has no locks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, holder = lock_file(folder / LOCK)
    except OSError as error:
        if error.errno in NO_LOCKS:
            print(f"{folder}: this file system cannot lock files; see that no second run writes there", flush=True)
            return None
        raise SkyEyeError(
            f"cannot be written to: {error.strerror or error}",
            where=str(folder),
            remedy="choose another folder: run.dir=...",
        ) from error
    if holder is None:
        return handle
    unlock(handle)
    raise SkyEyeError(
        f"another run is training in this folder: {holder}",
        where=str(folder),
        remedy="wait until it has ended, or choose another folder: run.dir=...",
    )


def _remove_empty(made: list[Path]) -> None:
    for part in made:
        try:
            part.rmdir()
        except OSError:  # it holds a run
            return
