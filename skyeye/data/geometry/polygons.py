"""Geometry of polygons given as corner points: area, the part inside another polygon, the smallest rectangle around.

Points are (x, y) with y downwards, in any one unit. Written out here because it is a page of arithmetic whose result is
then the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

Point = tuple[float, float]


def polygon_area(points: Sequence[Point]) -> float:
    """Area of a polygon, whichever way round its corners are named; of one that crosses itself it means nothing."""
    return abs(_signed_area(points))


def clip_polygon(points: Sequence[Point], window: Sequence[Point]) -> list[Point]:
    """The part of a polygon inside a convex ``window`` (Sutherland and Hodgman 1974); empty when they do not meet.

    ``points`` may be concave; its part may then hold edges of no width, which change no area.
    """
    if _signed_area(window) < 0:
        window = window[::-1]
    inside = list(points)
    for start, end in zip(window, [*window[1:], window[0]], strict=True):
        corners, inside = inside, []
        if not corners:
            break
        sides = [_side(start, end, corner) for corner in corners]
        for index, (corner, side) in enumerate(zip(corners, sides, strict=True)):
            before, side_before = corners[index - 1], sides[index - 1]
            if (side < 0) != (side_before < 0):
                share = side_before / (side_before - side)
                inside.append(
                    (before[0] + share * (corner[0] - before[0]), before[1] + share * (corner[1] - before[1]))
                )
            if side >= 0:
                inside.append(corner)
    return inside


def smallest_rectangle(points: Sequence[Point]) -> tuple[float, float, float, float, float]:
    """The rectangle of least area around some points: centre x, centre y, width, height, angle.

    Its first side (``width``) lies at ``angle`` degrees, 0 <= angle < 90, clockwise from the x axis (y is downwards).
    Of rectangles of the same area the one with the smallest angle is taken.
    """
    # The best rectangle shares a side with the convex hull; all pairs of points hold the sides of the hull.
    angles = {0.0}
    for (x1, y1), (x2, y2) in combinations(points, 2):
        if (x1, y1) != (x2, y2):
            angles.add(math.degrees(math.atan2(y2 - y1, x2 - x1)) % 90)
    least, best = math.inf, (0.0, 0.0, 0.0, 0.0, 0.0)
    for number, angle in enumerate(sorted(angles)):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        along = [x * c + y * s for x, y in points]
        across = [y * c - x * s for x, y in points]
        width, height = max(along) - min(along), max(across) - min(across)
        if not number or width * height < least * (1 - 1e-9):
            u, v = (max(along) + min(along)) / 2, (max(across) + min(across)) / 2
            least, best = width * height, (u * c - v * s, u * s + v * c, width, height, angle)
    return best


def rectangle_corners(cx: float, cy: float, width: float, height: float, angle: float) -> list[Point]:
    """Corners of a rectangle turned clockwise by ``angle`` degrees about its centre, the upper left one first."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    halves = ((-width / 2, -height / 2), (width / 2, -height / 2), (width / 2, height / 2), (-width / 2, height / 2))
    return [(cx + u * c - v * s, cy + u * s + v * c) for u, v in halves]


def _signed_area(points: Sequence[Point]) -> float:
    pairs = zip(points, [*points[1:], *points[:1]], strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs) / 2


def _side(start: Point, end: Point, point: Point) -> float:
    """Above 0 on the inner side of an edge of a polygon whose signed area is positive."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
