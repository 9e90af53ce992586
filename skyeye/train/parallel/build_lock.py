"""Building C++ code: in a folder of each environment, under a lock that a process takes with it when it dies."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import sys
from pathlib import Path

import torch
from torch.utils import cpp_extension
from torch.utils.file_baton import FileBaton

#: What ``flock`` answers on a file system (or a mount of one) that has no such locks.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class DyingLock(FileBaton):
    """What torch asks of its lock, by the system's ``flock``.

    torch's own is a file that stands there while an extension is built or loaded. On a CPU DeepSpeed loads one at the
    start of every run, and a process that is killed in that moment leaves the file behind: every later run of the
    machine waits for it, without an end and without a word. It is still what is used where the file system has no
    ``flock``; that is said once.
    """

    told = False

    def try_acquire(self) -> bool:
        self._dies = True
        self.fd = os.open(f"{self.lock_file_path}.flock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            os.close(self.fd)
            if error.errno not in _NO_LOCKS:
                raise
            self._dies, self.fd = False, None
            self._tell()
            return super().try_acquire()
        return True

    def wait(self) -> None:
        if not self._dies:
            super().wait()
            return
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        self.release()

    def release(self) -> None:
        if self._dies:
            os.close(self.fd)
        else:
            super().release()

    def _tell(self) -> None:
        if not DyingLock.told and os.environ.get("LOCAL_RANK", "0") == "0":
            print(
                f"the file system of {self.lock_file_path} cannot lock files: a run that waits here without end waits"
                " for that file, which a killed run has left; remove it, or set TORCH_EXTENSIONS_DIR to a local folder",
                flush=True,
            )
        DyingLock.told = True


def build_safely() -> None:
    """Let torch build and load extensions under such locks, in this process, and in a folder of this environment.

    torch's own folder is the same for all environments of a user; two of them with other versions of torch or DeepSpeed
    would build the extension anew for each other, and one would load what the other has built. A folder that
    ``TORCH_EXTENSIONS_DIR`` names is left.
    """
    cpp_extension.FileBaton = DyingLock
    if "TORCH_EXTENSIONS_DIR" not in os.environ:
        made_for = "\0".join((sys.prefix, sys.implementation.cache_tag, torch.__version__))
        name = "skyeye-" + hashlib.blake2b(made_for.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        os.environ["TORCH_EXTENSIONS_DIR"] = str(Path(cpp_extension.get_default_build_root()) / name)
