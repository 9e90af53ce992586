"""Turned boxes: what an answer says of them, and how well polygons agree (by shapely)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import shapely

from skyeye.data.boxes import Box, OrientedBox, parse_boxes
from skyeye.data.notations import Size, find_boxes
from skyeye.eval.metrics.iou import DIGITS

_IMAGE = shapely.box(0, 0, 1, 1)


def answer_boxes(text: str, size: Size | None = None) -> list[Box | OrientedBox]:
    """Every well-formed box of an answer, in order: ``{<x1><y1><x2><y2>}``, or GeoChat's form with an angle behind it.

    Upright boxes are those of :func:`~skyeye.data.boxes.parse_boxes`. The four numbers before an angle may leave the
    image: they are those of the box before it is turned. Boxes of other systems come with decimals, with four or eight
    numbers (:func:`~skyeye.eval.answers.convert_boxes`); upright ones are cut to the image as the true ones are.

    Args:
        size: width and height of the image, in whose pixels the angle is meant; None: the image is taken for a square.
    """
    compact = re.sub(r"<unk>|\s", "", text)
    placed: list[tuple[int, Box | OrientedBox]] = []
    for found in find_boxes(compact, "geochat", size):
        written = compact[found.start : found.end]
        x1, y1, x2, y2, *angle = (int(number) for number in re.findall(r"-?\d+", written))
        if (x1 <= x2 and y1 <= y2) if angle else parse_boxes(written):
            placed.append((found.start, found.boxes[0]))
    for found in find_boxes(compact, "hundredths"):
        (box,) = found.boxes
        if isinstance(box, OrientedBox):
            placed.append((found.start, box))
        elif box.x1 <= box.x2 and box.y1 <= box.y2:
            placed.append((found.start, box.clipped()))
    return [box for _, box in sorted(placed, key=lambda pair: pair[0])]


def upright(box: Box | OrientedBox) -> Box:
    """The box itself, or the part in the image of the upright box around a turned one."""
    return box.upright().clipped() if isinstance(box, OrientedBox) else box


def polygon(corners: Sequence[float]) -> tuple[shapely.Geometry, bool]:
    """The part of a quadrilateral in the image, and whether its corners were in order.

    Corners x1, y1, ..., x4, y4 in fractions of the image. Annotations that name them crosswise make a polygon that
    crosses itself; the convex hull of the four is taken then.
    """
    points = list(zip(corners[::2], corners[1::2], strict=True))
    shape = shapely.Polygon(points)
    sound = shape.is_valid
    if not sound:
        shape = shapely.MultiPoint(points).convex_hull
    return _areal(shape.intersection(_IMAGE)), sound


def answered_polygon(box: Box | OrientedBox) -> shapely.Geometry:
    """The polygon of an answer in the image; an upright box is one, too."""
    corners = box if isinstance(box, OrientedBox) else OrientedBox.from_box(box)
    return polygon(tuple(corners))[0]


def polygon_overlap(a: shapely.Geometry, b: shapely.Geometry) -> float:
    """IoU of two polygons; 0 where neither has an area."""
    both = a.intersection(b).area
    union = a.area + b.area - both
    return round(both / union, DIGITS) if union > 0 else 0.0


def _areal(shape: shapely.Geometry) -> shapely.Geometry:
    """Without the points and lines in which shapes may touch: older GEOS cannot intersect such collections again."""
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    return shapely.union_all(parts) if parts else shapely.Polygon()
