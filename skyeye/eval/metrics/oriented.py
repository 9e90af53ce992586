"""Turned boxes, and how well polygons agree (by shapely)."""

from __future__ import annotations

from collections.abc import Sequence

import shapely
from shapely.geometry.base import BaseGeometry

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.eval.metrics.iou import DIGITS

_IMAGE = shapely.box(0, 0, 1, 1)


def upright(box: Box | OrientedBox) -> Box:
    """The box itself, or the part in the image of the upright box around a turned one."""
    return box.upright().clipped() if isinstance(box, OrientedBox) else box


def polygon(corners: Sequence[float]) -> tuple[BaseGeometry, bool]:
    """The part of a quadrilateral in the image, and whether its corners were in order.

    Corners x1, y1, ..., x4, y4 in fractions of the image. Annotations that name them crosswise make a polygon that
    crosses itself; the convex hull of the four is taken then.
    """
    points = list(zip(corners[::2], corners[1::2], strict=True))
    shape: BaseGeometry = shapely.Polygon(points)
    sound = shape.is_valid
    if not sound:
        shape = shapely.MultiPoint(points).convex_hull
    return _areal(shape.intersection(_IMAGE)), sound


def answered_polygon(box: Box | OrientedBox) -> BaseGeometry:
    """The polygon of an answer in the image; an upright box is one, too."""
    corners = box if isinstance(box, OrientedBox) else OrientedBox.from_box(box)
    return polygon(tuple(corners))[0]


def polygon_overlap(a: BaseGeometry, b: BaseGeometry) -> float:
    """IoU of two polygons; 0 where neither has an area."""
    both = a.intersection(b).area
    union = a.area + b.area - both
    return round(both / union, DIGITS) if union > 0 else 0.0


def _areal(shape: BaseGeometry) -> BaseGeometry:
    """Without the points and lines in which shapes may touch: older GEOS cannot intersect such collections again."""
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    return shapely.union_all(parts) if parts else shapely.Polygon()
