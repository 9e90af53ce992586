"""Names of classes as they are compared: without case, spaces and marks."""

from __future__ import annotations

import re


def words(text: str) -> list[str]:
    """Lower-case words of letters and digits; a capital inside a word starts a new one."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())


def compact(name: str) -> str:
    """``BaseballField``, ``baseball_field`` and ``baseball field`` are ``baseballfield``."""
    return "".join(words(name))
