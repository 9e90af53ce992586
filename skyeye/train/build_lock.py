"""A lock for building C++ code that a process takes with it when it dies."""

from __future__ import annotations

import fcntl
import os

from torch.utils import cpp_extension
from torch.utils.file_baton import FileBaton


class DyingLock(FileBaton):
    """What torch asks of its lock, by the system's ``flock``.

    torch's own is a file that stands there while an extension is built or loaded. On a CPU DeepSpeed loads one at the
    start of every run, and a process that is killed in that moment leaves the file behind: every later run of the
    machine waits for it, without an end and without a word.
    """

    def try_acquire(self) -> bool:
        self.fd = os.open(f"{self.lock_file_path}.flock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        self.release()

    def release(self) -> None:
        os.close(self.fd)


def use_dying_locks() -> None:
    """Let torch build and load extensions under such locks, in this process."""
    cpp_extension.FileBaton = DyingLock
