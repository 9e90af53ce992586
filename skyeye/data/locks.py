"""A file that one process holds at a time. The system takes the lock back when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: What a file system (or a mount of one) answers that has no such locks.
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
#: Files that this process holds, by handle: the system tells processes apart, not who asks within one.
_held: dict[int, tuple[int, int] | None] = {}


def lock(handle: int) -> str | None:
    """Lock an open file for this process, and write into it who holds it.

    Not ``flock``: processes that are forked from this one would inherit that, and keep it for a while after this one is
    killed. Whoever closes any handle of the file gives the lock back.

    Returns:
        None, or the words of the process that holds it (on this machine or, on a shared folder, on another one).

    Raises:
        OSError: the file system has no locks (:data:`NO_LOCKS`), or the file cannot be written.
    """
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return os.pread(handle, 500, 0).decode("utf-8", "replace").strip() or "unknown"
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}, since {time.ctime()}\n".encode(), 0)
    return None


def lock_file(path: Path) -> tuple[int, str | None]:
    """Open (or make) a file and :func:`lock` it. A file that this process holds already is not opened: closing it again
    would give the lock back.

    Returns:
        The open handle, for :func:`unlock`, and what :func:`lock` says.

    Raises:
        OSError: as :func:`lock`; nothing is open then.
    """
    if _identity(path) in _held.values():
        return os.open(os.devnull, os.O_RDONLY), f"process {os.getpid()}, this one"
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            holder = lock(handle)
            if holder is not None:
                return handle, holder
            if _identity(path) == _identity(handle):
                _held[handle] = _identity(handle)
                return handle, None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # it was removed by its last holder in between; the next one would make another


def unlock(handle: int) -> None:
    """Close what :func:`lock_file` opened; the lock goes with it."""
    _held.pop(handle, None)
    os.close(handle)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Of several processes that start together, one does its work and the others wait for it. Where nothing can be
    written or locked, all do it."""
    handle = None
    try:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _identity(file: Path | int) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
