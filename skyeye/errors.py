"""The one exception a user is meant to read: what is wrong, where, and what to do about it."""

from __future__ import annotations


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
