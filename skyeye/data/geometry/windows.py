"""Where the windows lie that cover a large picture, and which part of it each of them stands for."""

from __future__ import annotations

from itertools import pairwise

#: left, top, right, bottom in pixels of the picture
Window = tuple[int, int, int, int]


def windows(width: int, height: int, size: int, overlap: int) -> list[Window]:
    """(left, top, right, bottom) of every window of a picture, row by row; the last of a row or column is moved back to
    the border, and a smaller picture is one window."""
    columns, rows = (_starts(length, size, size - overlap) for length in (width, height))
    return [(x, y, min(x + size, width), min(y + size, height)) for y in rows for x in columns]


def cells(width: int, height: int, size: int, overlap: int) -> list[tuple[float, float, float, float]]:
    """The part of the picture for which each of :func:`windows` stands: what overlaps is cut in the middle, so that
    every point of the picture lies in one cell."""
    columns, rows = (_cuts(length, size, size - overlap) for length in (width, height))
    return [(left, top, right, bottom) for top, bottom in rows for left, right in columns]


def _starts(length: int, size: int, stride: int) -> list[int]:
    return [0] if length <= size else [*range(0, length - size, stride), length - size]


def _cuts(length: int, size: int, stride: int) -> list[tuple[float, float]]:
    starts = _starts(length, size, stride)
    between = [(before + size + after) / 2 for before, after in pairwise(starts)]
    return list(zip([0.0, *between], [*between, float(length)], strict=True))
