from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.boxes import Box, OrientedBox, parse_boxes
from skyeye.eval.metrics.oriented import answer_boxes, answered_polygon, polygon, polygon_overlap, upright

SQUARE = (0.4, 0.4, 0.6, 0.4, 0.6, 0.6, 0.4, 0.6)


def rectangle(x1: float, y1: float, x2: float, y2: float):
    return polygon((x1, y1, x2, y1, x2, y2, x1, y2))[0]


def test_iou_of_polygons_by_hand():
    assert polygon_overlap(rectangle(0, 0, 0.4, 0.4), rectangle(0.2, 0, 0.6, 0.4)) == pytest.approx(1 / 3)
    # a square and the same one turned by 45 degrees share a regular octagon: 2 (sqrt 2 - 1) of its area
    (turned,) = answer_boxes("{<40><40><60><60>|<45>}")
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


def test_angles_are_turned_in_pixels():
    # 0.2 x 0.1 of an image of 200 x 100 pixels is 40 x 10; a quarter turn makes 10 x 40 pixels: 0.05 x 0.4
    (box,) = answer_boxes("{<40><45><60><55>|<90>}", size=(200, 100))
    assert tuple(upright(box)) == pytest.approx((0.475, 0.3, 0.525, 0.7))
    (box,) = answer_boxes("{<40><45><60><55>|<90>}")
    assert tuple(upright(box)) == pytest.approx((0.45, 0.4, 0.55, 0.6))


def test_both_forms_in_order_and_nothing_else():
    text = "{<1><2><3><4>} and {<10><10><30><20>|<0>}, {<9><2><3><4>|<0>}, {<9999><2><3><4>|<1>}, {<1><2><3>|<4>}"
    first, second = answer_boxes(text)
    assert isinstance(first, Box) and tuple(first) == pytest.approx((0.01, 0.02, 0.03, 0.04))
    assert isinstance(second, OrientedBox) and tuple(upright(second)) == pytest.approx((0.1, 0.1, 0.3, 0.2))


def test_a_box_may_leave_the_image_before_it_is_turned():
    # 1.2 x 0.2 around (0.5, 0.9), stood upright; GeoChat writes long things at the border like this
    (box,) = answer_boxes("{<-10><80><110><100>|<90>}")
    assert tuple(upright(box)) == pytest.approx((0.4, 0.3, 0.6, 1))
    assert answer_boxes("{<-10><80><100><100>}") == []
    assert answer_boxes("{<10><80><0><100>|<90>} {<0><80><10><70>|<90>}") == []


def test_unknown_tokens_and_blanks_inside_are_ignored():
    (box,) = answer_boxes("{<unk><10> <10><30><20>|<0>\n}")
    assert tuple(upright(box)) == pytest.approx((0.1, 0.1, 0.3, 0.2))


def test_boxes_of_other_systems_have_decimals_and_are_cut_to_the_image():
    text = (
        "{<1.5><2.0><30.25><40.0>} {<1><2><3><4>} {<-5.0><20.0><110.0><40.5>} {<9.0><2.0><3.0><4.0>} {<1.5><2><3><4>}"
    )
    first, second, third = answer_boxes(text)
    assert tuple(first) == pytest.approx((0.015, 0.02, 0.3025, 0.4))
    assert tuple(second) == pytest.approx((0.01, 0.02, 0.03, 0.04))
    assert tuple(third) == pytest.approx((0, 0.2, 1, 0.405))
    (turned,) = answer_boxes("{<50.5><-10.0><110.0><50.0><50.5><110.0><-10.0><50.0>}")
    assert tuple(turned) == pytest.approx((0.505, -0.1, 1.1, 0.5, 0.505, 1.1, -0.1, 0.5))
    assert answer_boxes("{<1><2><3><4><5><6><7><8>} {<1.0><2.0><3.0><4.0><5.0>}") == []


def test_the_upright_box_stays_in_the_image():
    (box,) = answer_boxes("{<0><0><100><100>|<45>}")
    assert tuple(upright(box)) == (0, 0, 1, 1)


pieces = st.sampled_from(["{", "}", "<", ">", "1", "23", "456", "7890", "|", " ", "<unk>", "{<1><2><3><4>}", "-", ","])


@given(st.lists(pieces, max_size=20).map("".join))
def test_without_an_angle_the_boxes_are_those_of_the_parser(text):
    assert [box for box in answer_boxes(text) if isinstance(box, Box)] == parse_boxes(text)
