"""The one exception a user is meant to read: what is wrong, where, and what to do about it."""

from __future__ import annotations

import errno
import os
import re


class SkyEyeError(Exception):
    """An error that the user can mend; the command line prints it as one line, without a traceback.

    Args:
        what: what is wrong, in plain words.
        where: file, record, key or option it was found in (``"train.json, record 17"``).
        remedy: what to do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None):
        self.what, self.where, self.remedy = what, where, remedy
        message = f"{where}: {what}" if where else what
        super().__init__(f"{message} ({remedy})" if remedy else message)


_MAKE_ROOM = "make room and run it again, or choose another place"
_RIGHTS = "mend the permissions (chmod, chown), or choose another place"
#: What the system says when a place cannot be used -> what to do about it.
_REMEDIES = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "choose another place, or raise the limit: ulimit -f",
    errno.EROFS: "choose another place",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOTDIR: "a folder on the way there is a file: choose another place",
    errno.EISDIR: "give the name of a file",
    errno.EEXIST: "a file has that name: remove it, or choose another place",
    errno.ENOENT: "check the path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "a link there leads to itself: choose another place",
    errno.EMFILE: "raise the limit: ulimit -n 65536",
    errno.ESTALE: "mount the disk again",
    errno.EIO: "look at the system's log (dmesg), or choose another place",
}


def of_the_system(error: Exception) -> SkyEyeError:
    """What the operating system refused, with what to do.

    Args:
        error: an ``OSError``, or the error of a library that is not in Python and names the system's ("os error 28").
    """
    told = re.search(r"\(os error (\d+)\)", str(error))
    if told and not isinstance(error, OSError):
        error = OSError(int(told[1]), os.strerror(int(told[1])))
    number, said, place = (getattr(error, name, None) for name in ("errno", "strerror", "filename"))
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    remedy = _REMEDIES.get(number or 0, "--debug shows where it happened")
    return SkyEyeError(said or first, where=None if place is None else str(place), remedy=remedy)
