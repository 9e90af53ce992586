"""Boxes of an answer as they were probably meant; what the strict reading takes is taken here, unmarked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.config.schema import PromptConfig
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.prompts import MiniGPTv2, prompt_style
from skyeye.serve.read_boxes import ODD_NUMBERS, OPEN_PHRASE, OUTSIDE, SWAPPED, UNCLOSED, lies_outside, read_leniently

SIZE = (200, 100)
MEANT = Box(0.1, 0.2, 0.4, 0.7)


def read(text, style="minigpt_v2", boxes=None):
    found = read_leniently(text, prompt_style(PromptConfig(style=style, boxes=boxes)), SIZE)
    return [(one.label, one.box, one.marks) for one in found]


def test_boxes_find_their_phrases():
    text = "{<1><2><3><4>} and <p>two ships</p> {<10><20><40><70>}<delim>{<50><50><60><60>}<p>a dock</p> {<5><5>}"
    found = read_leniently(text, MiniGPTv2(), SIZE)
    assert [(one.label, one.box, one.marks) for one in found] == [
        ("", Box(0.01, 0.02, 0.03, 0.04), ()),
        ("two ships", MEANT, ()),
        ("two ships", Box(0.5, 0.5, 0.6, 0.6), ()),
    ]
    assert [text[slice(*one.span)] for one in found] == ["{<1><2><3><4>}", "{<10><20><40><70>}", "{<50><50><60><60>}"]
    assert text[slice(*found[1].label_span)] == "<p>two ships</p>" and found[0].label_span is None
    assert read("two white ships") == []


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("{<10><20><40><70>}", ()),
        ("{ <10> <20><40><70> }<unk>", ()),
        ("{<40><70><10><20>}", (SWAPPED,)),
        ("<10><20><40><70>", (UNCLOSED,)),
        ("{<10><20><40><70>", (UNCLOSED,)),
        ("<10><20><40><70>}", (UNCLOSED,)),
        ("{<10><20><40><70}", (UNCLOSED,)),
        ("{<10.0><20.0><40.0><70.0>}", (ODD_NUMBERS,)),
    ],
)
def test_braces(text, marks):
    assert read(text) == [("", MEANT, marks)]


@pytest.mark.parametrize("text", ["{<10><20><40>}", "{<1><2><3><4><5>}", '{"count": <n>}', "<p>a</p>", "<1><2><3>", ""])
def test_what_is_no_box_is_none(text):
    assert read(text) == []


@pytest.mark.parametrize(
    ("style", "text", "marks"),
    [
        ("lhrs", "[0.10, 0.20, 0.40, 0.70]", ()),
        ("lhrs", "[0.10, 0.20, 0.40, 0.70", (UNCLOSED,)),
        ("lhrs", "0.10, 0.20, 0.40, 0.70]", (UNCLOSED,)),
        ("lhrs", "[0.40, 0.70, 0.10, 0.20]", (SWAPPED,)),
        ("vhm", "[100,200,400,700]", ()),
        ("vhm", "[100,200,400,700", (UNCLOSED,)),
        ("chat_template", "[100, 200, 400, 700]", ()),
    ],
)
def test_brackets(style, text, marks):
    assert read(text, style) == [("", MEANT, marks)]


@pytest.mark.parametrize(
    ("text", "marks"), [("<box>(100,200),(400,700)</box>", ()), ("(100, 200), (400, 700)", (UNCLOSED,))]
)
def test_points(text, marks):
    assert read(text, boxes="qwen") == [("", MEANT, marks)]


def test_numbers_outside_are_cut_and_marked_and_boxes_outside_known():
    assert read("{<-3><20><104><70>}") == [("", Box(0, 0.2, 1, 0.7), (OUTSIDE,))]
    (beyond,) = read_leniently("{<150><20><170><70>}", MiniGPTv2(), SIZE)
    assert lies_outside(beyond)
    (inside,) = read_leniently("{<50><20><50><70>}", MiniGPTv2(), SIZE)
    assert not lies_outside(inside), "a box without area is in the image"


def test_angles_are_those_of_the_picture_and_survive_a_missing_brace():
    (sound,), (lenient,) = (
        read_leniently(text, prompt_style(PromptConfig(style="geochat")), SIZE)
        for text in ("{<10><20><40><70>|<90>}", "{<10><20><40><70>|<90>")
    )
    assert isinstance(sound.box, OrientedBox) and lenient.box == sound.box and lenient.marks == (UNCLOSED,)
    # 60 x 50 pixels about (50, 45), turned by 90 degrees: 50 x 60
    assert sound.box.upright() == Box(
        pytest.approx(0.125), pytest.approx(0.15), pytest.approx(0.375), pytest.approx(0.75)
    )


def test_eight_numbers_are_corners():
    ((_, box, marks),) = read("{<10><20><40><20><40><70><10><70>}")
    assert box == OrientedBox.from_box(MEANT) and marks == (ODD_NUMBERS,)


def test_a_phrase_that_is_not_closed_ends_at_its_box():
    assert read("<p>a ship {<10><20><40><70>}") == [("a ship", MEANT, (OPEN_PHRASE,))]
    assert read("<p>a</p> <p>b {<10><20><40><70>}") == [("b", MEANT, (OPEN_PHRASE,))]


def test_words_before_a_box_are_its_label_where_phrases_are_not_marked():
    text = "There are two. A red car: [0.1, 0.2, 0.4, 0.7], [0.5, 0.5, 0.6, 0.6] and a bus [0, 0, 0.1, 0.1]"
    assert [label for label, _, _ in read(text, "lhrs")] == ["A red car", "A red car", "a bus"]
    many = "the car that stands before the house with the red roof is [0.1, 0.2, 0.4, 0.7]"
    assert [label for label, _, _ in read(many, "lhrs")] == [""]


@given(st.text(alphabet="{}<>[](),.|;0123456789- pabox/", max_size=80))
@pytest.mark.parametrize("style", ["minigpt_v2", "geochat", "lhrs", "vhm"])
def test_what_is_read_strictly_is_read_alike(style, text):
    style = prompt_style(PromptConfig(style=style))
    found = read_leniently(text, style, SIZE)
    sound = [box.clipped() if isinstance(box, Box) else box for box in style.read_boxes(text, SIZE)]
    rest = [one.box for one in found]
    for box in sound:
        assert box in rest, text
        rest.remove(box)
    assert all(0 <= one.span[0] < one.span[1] <= len(text) for one in found)


def test_a_hostile_text_takes_no_longer_than_its_length():
    for piece in ("{<1><2><3>", "[1,", "[0.1, 0.2, 0.3, ", "<p>", "(1,2)", "{<1><2><3><4>|<"):
        for style in ("minigpt_v2", "lhrs", "geochat"):
            read(piece * 2000, style)
