"""Boxes of a picture that is turned or mirrored before it is shown."""

from __future__ import annotations

from skyeye.data.geometry.boxes import Box, OrientedBox

#: EXIF orientations that exchange width and height.
SIDEWAYS = (5, 6, 7, 8)


def turned_box(box: Box, orientation: int) -> Box:
    """A box in fractions of the stored picture -> in fractions of the picture as its EXIF orientation shows it.

    Corners in the wrong order stay so.

    Args:
        orientation: 1 to 8, as in EXIF: 3 turns by a half, 6 by a quarter clockwise, 8 by a quarter the other way.
    """
    x1, y1 = turned_point(box.x1, box.y1, orientation)
    x2, y2 = turned_point(box.x2, box.y2, orientation)
    if orientation in (2, 3, 6, 7):  # right and left are exchanged
        x1, x2 = x2, x1
    if orientation in (3, 4, 7, 8):  # top and bottom are exchanged
        y1, y2 = y2, y1
    return Box(x1, y1, x2, y2)


def turned_polygon(polygon: OrientedBox, orientation: int) -> OrientedBox:
    """As :func:`turned_box`; the corners keep their order."""
    points = [turned_point(x, y, orientation) for x, y in polygon.corners]
    return OrientedBox(*(value for point in points for value in point))


def turned_point(x: float, y: float, orientation: int) -> tuple[float, float]:
    """As :func:`turned_box`, of one point."""
    if orientation in SIDEWAYS:
        x, y = y, x
    return (1 - x if orientation in (2, 3, 6, 7) else x), (1 - y if orientation in (3, 4, 7, 8) else y)


def turned_place(place: Box | OrientedBox, orientation: int) -> Box | OrientedBox:
    """As :func:`turned_box`, of either kind of box."""
    return turned_box(place, orientation) if isinstance(place, Box) else turned_polygon(place, orientation)
