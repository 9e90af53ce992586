"""What a misspelt word may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(word: str, known: Sequence[str], cutoff: float = 0.6) -> list[str]:
    """Up to three of ``known`` that look like ``word``, best first; 1 as ``cutoff`` asks for the same letters."""
    lower = {name.lower(): name for name in known}
    return [lower[match] for match in difflib.get_close_matches(word.lower(), list(lower), n=3, cutoff=cutoff)]


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """``; did you mean 'x'?`` or nothing, to be appended to a sentence."""
    return meant(nearest(word, known))


def meant(matches: Sequence[str]) -> str:
    """The same for matches that are known already."""
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
