"""Boxes as text and back, against the reference's strings and by arithmetic."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.boxes import (
    Box,
    OrientedBox,
    format_box,
    format_boxes,
    format_phrase,
    iou,
    parse_boxes,
    parse_phrases,
)
from skyeye.errors import SkyEyeError

HUNDREDTHS = st.integers(0, 100)
CORNERS = st.tuples(HUNDREDTHS, HUNDREDTHS, HUNDREDTHS, HUNDREDTHS).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)


@pytest.mark.golden
def test_text_of_a_box_equals_the_reference(golden):
    for case in json.loads((golden / "boxes.json").read_text())["to_text"]:
        box = Box.from_xywh_pixels(*case["xywh"], case["image_width"], case["image_height"])
        assert format_box(box, clip=False) == case["text"]
        numbers = [min(max(int(n), 0), 100) for n in case["text"].strip("{<>}").split("><")]
        assert format_box(box) == "{" + "".join(f"<{n}>" for n in numbers) + "}"


@pytest.mark.golden
def test_overlap_equals_the_reference(golden):
    for case in json.loads((golden / "metrics.json").read_text())["iou_plus_one"]:
        assert iou(case["a"], case["b"], plus_one=True) == case["iou"]


@given(st.lists(CORNERS, max_size=4))
def test_numbers_survive_reading_and_writing(corners):
    text = "<delim>".join("{" + "".join(f"<{n}>" for n in box) + "}" for box in corners)
    assert format_boxes(parse_boxes(text)) == text


def test_a_box_outside_the_image_is_clipped_unless_the_reference_is_asked_for():
    box = Box.from_pixels(-30, 10, 130, 50, width=100, height=100)
    assert format_box(box) == "{<0><10><100><50>}"
    assert format_box(box, clip=False) == "{<-30><10><130><50>}"
    assert tuple(box.clipped()) == (0.0, 0.1, 1.0, 0.5)
    assert Box(1.2, 0.1, 1.4, 0.5).clipped().area == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{<1><2><3>}",
        "{<1><2><3><4><5>}",
        "{<1><2><3><1000>}",
        "{<1><2><3><-4>}",
        "<1><2><3><4>",
        "{<1><2><3><4>",
        "{<a><2><3><4>}",
        "{<30><2><3><4>}",
        "{<1><20><3><4>}",
    ],
)
def test_what_is_not_a_box_is_not_returned(text):
    assert parse_boxes(text) == []
    assert len(parse_boxes(f"{text} and {{<1><2><3><4>}}")) == 1


@given(st.text(alphabet="{}<>0123456789 ,ab", max_size=60))
def test_any_text_gives_boxes_with_corners_in_order(text):
    for box in parse_boxes(text):
        assert box.x1 <= box.x2 and box.y1 <= box.y2


def test_spaces_and_unknown_marks_are_ignored_as_in_the_reference():
    assert format_boxes(parse_boxes("{ <1> <2><unk><3>\n<4> }")) == "{<1><2><3><4>}"


def test_grounded_phrases():
    first, second, third = Box(0.1, 0.2, 0.3, 0.4), Box(0.5, 0.5, 0.75, 1.0), Box(0.0, 0.0, 1.0, 1.0)
    text = f"{format_phrase('two ships', [first, second])} near {format_phrase('a road', [third])}."
    assert text == (
        "<p>two ships</p> {<10><20><30><40>}<delim>{<50><50><75><100>} near <p>a road</p> {<0><0><100><100>}."
    )
    assert [(phrase, len(boxes)) for phrase, boxes in parse_phrases(text)] == [("two ships", 2), ("a road", 1)]
    assert parse_phrases("<p>a ship</p> is there, <p> {<1><2><3><4>}") == [("a ship", [])]


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
