"""Boxes as numbers, against the reference's overlaps and by arithmetic."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.geometry.boxes import Box, OrientedBox, iou
from skyeye.errors import SkyEyeError

HUNDREDTHS = st.integers(0, 100)
CORNERS = st.tuples(HUNDREDTHS, HUNDREDTHS, HUNDREDTHS, HUNDREDTHS).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)


@pytest.mark.golden
def test_overlap_equals_the_reference(golden):
    for case in json.loads((golden / "metrics.json").read_text())["iou_plus_one"]:
        assert iou(case["a"], case["b"], plus_one=True) == case["iou"]


def test_overlap_of_fractions():
    whole, left, right = Box(0, 0, 1, 1), Box(0, 0, 0.5, 1), Box(0.5, 0, 1, 1)
    assert iou(whole, whole) == 1.0
    assert iou(whole, left) == 0.5
    assert iou(left, right) == 0.0
    assert iou(Box(0, 0, 0, 0), Box(0, 0, 0, 0)) == 0.0


@given(CORNERS, CORNERS, st.booleans())
def test_overlap_is_symmetric_and_bounded(a, b, plus_one):
    assert 0.0 <= iou(a, b, plus_one) <= 1.0
    assert iou(a, b, plus_one) == iou(b, a, plus_one)


def test_impossible_sizes_and_numbers_are_refused_in_words():
    with pytest.raises(SkyEyeError, match="image size 0 x 10 has no area"):
        Box.from_pixels(1, 2, 3, 4, width=0, height=10)
    with pytest.raises(SkyEyeError, match="not finite"):
        Box.from_pixels(1, 2, float("nan"), 4, width=10, height=10)


def test_an_oriented_box_keeps_its_corners_and_knows_the_upright_box_around_it():
    box = OrientedBox.from_pixels([100, 20, 140, 60, 100, 100, 60, 60], width=200, height=100)
    assert tuple(box) == (0.5, 0.2, 0.7, 0.6, 0.5, 1.0, 0.3, 0.6)
    assert box.corners[1] == (0.7, 0.6)
    assert tuple(box.upright()) == (0.3, 0.2, 0.7, 1.0)
    assert math.isclose(box.area, 0.5 * 0.4 * 0.8)  # a diamond has half the area of the box around it
    assert box.to_pixels(200, 100) == pytest.approx([100, 20, 140, 60, 100, 100, 60, 60])
    assert OrientedBox.from_box(Box(0.1, 0.2, 0.3, 0.4)).upright() == Box(0.1, 0.2, 0.3, 0.4)


def test_turning_happens_in_pixels_not_in_fractions():
    # 40 x 20 pixels about the middle of an image of 200 x 100, turned by a quarter: 20 wide and 40 high
    box = OrientedBox.from_centre(0.5, 0.5, 40 / 200, 20 / 100, 90, aspect=2.0)
    assert tuple(box.upright()) == pytest.approx((90 / 200, 30 / 100, 110 / 200, 70 / 100))
    assert box.corners[0] == pytest.approx((110 / 200, 30 / 100))  # the upper left corner went to the upper right


@given(st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.02, 0.4), st.floats(0.02, 0.4), st.floats(0, 180))
def test_centre_form_and_back(cx, cy, width, height, angle):
    box = OrientedBox.from_centre(cx, cy, width, height, angle, aspect=1.5)
    again = OrientedBox.from_centre(*box.centre_form(1.5), aspect=1.5)
    for corner in box.corners:
        assert min(math.dist(corner, other) for other in again.corners) < 1e-6
