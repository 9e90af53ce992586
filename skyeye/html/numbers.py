"""Numbers as short text."""

from __future__ import annotations


def short(value: float) -> str:
    """A number in at most four digits: 1234567 -> 1.23M."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (limit if letter != 'k' else 1e3):.3g}{letter}"
    if abs(value) < 1e-12:
        return "0"
    text = f"{value:.4g}"
    return f"{value:.3g}" if "e" in text else text


def duration(seconds: float) -> str:
    """Seconds in words: 90 s, 3 min, 2.0 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
