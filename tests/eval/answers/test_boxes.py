"""Boxes in the text of an answer: this project's, and those of other systems as numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.geometry.box_text import read_answer_boxes
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.boxes import in_notation, read_answer, read_boxes
from skyeye.eval.metrics.oriented import upright
from skyeye.eval.results import Answer


def answer_boxes(text, size=None, notation=None) -> list:
    answer = read_answer(text, size, notation)
    assert answer.text == text
    return list(answer.boxes)


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
    assert [box for box in answer_boxes(text) if isinstance(box, Box)] == [
        box for box in read_answer_boxes(text) if isinstance(box, Box)
    ]


def near(*numbers: float) -> list:
    return [pytest.approx(number) for number in numbers]


@pytest.mark.parametrize(
    ("text", "notation", "size", "boxes"),
    [
        ("{<1><2><3><4>} [0.1,0.2,0.3,0.4]", None, None, [near(0.01, 0.02, 0.03, 0.04)]),
        ("here: [0.291, -0.02, 1.004, 0.405]", "fractions", None, [near(0.291, 0, 1, 0.405)]),
        ("[96, 272, 448, 624]", "pixels", (800, 600), [near(0.12, 272 / 600, 0.56, 1)]),
        ("<ref>a ship</ref><box>(120,340),(560,786)</box>", "qwen", None, [near(0.12, 0.34, 0.56, 0.786)]),
        ("[127.6, 10, 300, 400]", "thousandths", None, [near(0.1276, 0.01, 0.3, 0.4)]),
        ("[0.3, 0.1, 0.2, 0.4] [0.1, 0.1, 0.2, 0.4]", "fractions", None, [near(0.1, 0.1, 0.2, 0.4)]),
        (
            "{<10><20><30><40>|<0>} and {<50><60><70><80>}",
            "geochat",
            None,
            [near(0.1, 0.2, 0.3, 0.4), near(0.5, 0.6, 0.7, 0.8)],
        ),
        # ours in a file of theirs
        ("{<1><2><3><4>}", "pixels", (800, 600), [near(0.01, 0.02, 0.03, 0.04)]),
        ("nowhere", "qwen", None, []),
    ],
)
def test_boxes_of_others_are_read_as_numbers(text, notation, size, boxes):
    found = answer_boxes(text, size, notation)
    assert all(isinstance(box, Box) for box in found)
    assert [list(box) for box in found] == boxes


def test_a_notation_that_cannot_be_read_is_told():
    with pytest.raises(SkyEyeError, match="need the size"):
        read_answer("[96, 272, 448, 624]", None, "pixels")
    for read in (lambda: read_answer("x", None, "yolo"), lambda: in_notation("yolo")):
        with pytest.raises(SkyEyeError, match="unknown notation 'yolo'"):
            read()
    in_notation(None)
    in_notation("qwen")


def test_oriented_boxes_stay_oriented():
    turned, plain = answer_boxes("{<10><20><30><40>|<30>} {<1><2><3><4>|<0>}", None, "geochat")
    assert isinstance(turned, OrientedBox) and turned == answer_boxes("{<10><20><30><40>|<30>}")[0]
    assert list(plain) == near(0.01, 0.02, 0.03, 0.04)
    quad = "<quad>(101,200),(300,300),(250,400),(-50,300)</quad>"
    assert answer_boxes(quad, None, "qwen") == [OrientedBox(*near(0.101, 0.2, 0.3, 0.3, 0.25, 0.4, -0.05, 0.3))]


def test_geochat_s_numbers_before_turning_may_leave_the_image():
    turned = "{<-10><80><110><100>|<90>}"
    assert answer_boxes(turned, None, "geochat") == answer_boxes(turned)
    # not turned, a number below 0 is the border
    first, second = answer_boxes("{<-10><80> <110><90>|<0>} {<-1><2><3><4> }", None, "geochat")
    assert list(first)[:2] == near(0, 0.8) and list(second) == near(0, 0.02, 0.03, 0.04)


@given(st.tuples(*[st.floats(0, 1)] * 4), st.sampled_from(["fractions", "pixels", "thousandths"]))
def test_boxes_are_scored_as_precisely_as_they_were_written(sides, notation):
    x1, x2 = sorted(sides[::2])
    y1, y2 = sorted(sides[1::2])
    factors = {"fractions": (1, 1), "pixels": (4000, 3000), "thousandths": (1000, 1000)}[notation]
    written = [f"{v * factors[i % 2]:.9f}" for i, v in enumerate((x1, y1, x2, y2))]
    (box,) = answer_boxes(f"[{', '.join(written)}]", (4000, 3000), notation)
    assert tuple(box) == pytest.approx((x1, y1, x2, y2), abs=2e-9)


def test_boxes_that_an_answer_comes_with_stay(tmp_path):
    sized = Record("i", "s", "refer", "test", ("absent:a.png",), (Turn("q", "a"),), {"size": (200, 100)})
    own = Answer("{<1><2><3><4>}", (Box(0.5, 0.5, 0.6, 0.6),))
    text = "{<40><45><60><55>|<90>}"
    first, second, third = read_boxes([sized] * 3, [own, Answer(text), Answer()], in_notation(None))
    assert first == own
    assert second == read_answer(text, (200, 100)) != read_answer(text)
    assert third == Answer("", ())
