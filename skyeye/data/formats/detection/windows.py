"""Which objects of a large picture a window of it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from skyeye.data.formats.detection.base import Labelled
from skyeye.data.geometry.polygons import clip_polygon, polygon_area, rectangle_corners, smallest_rectangle
from skyeye.data.geometry.windows import Window


def boxes_in(
    objects: Sequence[Labelled], width: int, height: int, window: Window, keep: float
) -> list[tuple[int, dict[str, Any], bool]]:
    """The objects of a picture of ``width`` x ``height`` pixels that a window shows.

    Returns:
        (index of the object, its entry for a line of own data in pixels of the tile, whether ``keep`` of it is inside).
    """
    left, top, right, bottom = window
    frame = [(left, top), (right, top), (right, bottom), (left, bottom)]
    found = []
    for index, thing in enumerate(objects):
        x1, y1, x2, y2 = thing.box.to_pixels(width, height)
        corners = thing.polygon.to_pixels(width, height) if thing.polygon else (x1, y1, x2, y1, x2, y2, x1, y2)
        if not thing.polygon and not (x1 < x2 and y1 < y2):
            continue  # corners in the wrong order: nobody knows where the object is
        points = list(zip(corners[::2], corners[1::2], strict=True))
        inside = clip_polygon(points, frame)
        whole, part = polygon_area(points), polygon_area(inside) if inside else 0.0
        if not (math.isfinite(whole) and part > 0):
            continue
        enough = part >= keep * whole * (1 - 1e-9)
        if not thing.polygon:
            xs, ys = zip(*inside, strict=True)
            place = {"box": [min(xs) - left, min(ys) - top, max(xs) - left, max(ys) - top]}
        else:
            if part < whole * (1 - 1e-9):
                points = rectangle_corners(*smallest_rectangle(inside))
            place = {"polygon": [value for x, y in points for value in (x - left, y - top)]}
        place = {key: [round(value, 2) for value in values] for key, values in place.items()}
        difficult = {"difficult": True} if thing.difficult or not enough else {}
        found.append((index, {**place, "label": thing.name, **difficult}, enough))
    return found
