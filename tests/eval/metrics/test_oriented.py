from __future__ import annotations

import math

import pytest

from skyeye.eval.answers.boxes import read_answer
from skyeye.eval.metrics.oriented import answered_polygon, polygon, polygon_overlap

SQUARE = (0.4, 0.4, 0.6, 0.4, 0.6, 0.6, 0.4, 0.6)


def rectangle(x1: float, y1: float, x2: float, y2: float):
    return polygon((x1, y1, x2, y1, x2, y2, x1, y2))[0]


def test_iou_of_polygons_by_hand():
    assert polygon_overlap(rectangle(0, 0, 0.4, 0.4), rectangle(0.2, 0, 0.6, 0.4)) == pytest.approx(1 / 3)
    # a square and the same one turned by 45 degrees share a regular octagon: 2 (sqrt 2 - 1) of its area
    (turned,) = read_answer("{<40><40><60><60>|<45>}").boxes
    octagon = 2 * (math.sqrt(2) - 1)
    assert polygon_overlap(answered_polygon(turned), polygon(SQUARE)[0]) == pytest.approx(octagon / (2 - octagon))
    assert polygon_overlap(rectangle(0, 0, 0.1, 0.1), rectangle(0.5, 0.5, 0.6, 0.6)) == 0
    assert polygon_overlap(rectangle(0, 0, 0.1, 0), rectangle(0, 0, 0, 0.1)) == 0  # without area


def test_polygons_are_cut_to_the_image():
    assert polygon_overlap(rectangle(-1, 0, 0.5, 0.5), rectangle(0, 0, 0.5, 0.5)) == pytest.approx(1)
    assert rectangle(1.5, 0, 2, 1).area == 0
    # touching the image along an edge is no area, either
    assert polygon_overlap(rectangle(1, 0, 2, 1), rectangle(0, 0, 1, 1)) == 0


def test_corners_named_crosswise_make_the_same_rectangle():
    crossed, sound = polygon((0.4, 0.4, 0.6, 0.6, 0.6, 0.4, 0.4, 0.6))
    assert not sound
    assert polygon_overlap(crossed, polygon(SQUARE)[0]) == pytest.approx(1)
    assert polygon(SQUARE)[1]
    assert polygon(SQUARE[::-1])[1]  # the other way round is in order
    nothing, sound = polygon((0.5,) * 8)
    assert nothing.area == 0 and not sound
