"""Box notations of other data sets: what their numbers mean, and how much a conversion may change."""

import json
import math
import time
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skyeye.data.formats.base.written_boxes import read_mentions
from skyeye.data.geometry.box_text import (
    NOTATIONS,
    SKYEYE,
    detect_notation,
    is_ambiguous,
    notation,
    read_answer_boxes,
)
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.prompts import MiniGPTv2
from skyeye.data.record import MARK, Mention, Turn
from skyeye.errors import SkyEyeError

SIZE = (800, 600)
NEED_SIZE = ("padded", "pixels", "qwen25")


class Qwen(MiniGPTv2):
    phrase = "<ref>{}</ref>"


def find_boxes(text, name, size=None):
    return notation(name).find(text, size)


def write_box(box, name, size=None):
    return notation(name).write(box, size)


def convert(text, source, target, size=None):
    """The text in another notation, by way of numbers; a box that leaves the image stays outside."""
    bare, mentions = read_mentions(text, notation(source), size)
    if target in NEED_SIZE:
        first, *rest = bare.split(MARK)
        lists = [notation(target).write_list(mention.boxes, size) for mention in mentions]
        return first + "".join(written + behind for written, behind in zip(lists, rest, strict=True))
    style = Qwen(notation(target)) if target == "qwen" else MiniGPTv2(notation(target))
    return style.answer(Turn("", bare, mentions=mentions))


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("a ship {<12><34><56><78>}", "skyeye", (0.12, 0.34, 0.56, 0.78)),
        ("{<12><34><56><78>|<0>}", "geochat", (0.12, 0.34, 0.56, 0.78)),
        ("{<12><34><56><78>}", "geochat", (0.12, 0.34, 0.56, 0.78)),
        ("[0.12, 0.34, 0.56, 0.78]", "fractions", (0.12, 0.34, 0.56, 0.78)),
        ("[[.12,.34,.56,.78]]", "fractions", (0.12, 0.34, 0.56, 0.78)),
        ("[120, 340, 560, 780]", "thousandths", (0.12, 0.34, 0.56, 0.78)),
        ("<box>(120,340),(560,780)</box>", "qwen", (0.12, 0.34, 0.56, 0.78)),
        ("<|box_start|>(120,340),(560,780)<|box_end|>", "qwen", (0.12, 0.34, 0.56, 0.78)),
        ("[96, 204, 448, 468]", "pixels", (0.12, 0.34, 0.56, 0.78)),
        ("{<12.0><34.0><56.25><78.0>}", "hundredths", (0.12, 0.34, 0.5625, 0.78)),
        # padded above and below by 100 rows: y = (v * 800 - 100) / 600
        ("[0.12,0.38,0.56,0.71]", "padded", (0.12, 204 / 600, 0.56, 468 / 600)),
    ],
)
def test_the_numbers_of_each_notation(text, name, expected):
    ((box,),) = [found.boxes for found in find_boxes(text, name, SIZE)]
    upright = box.upright() if isinstance(box, OrientedBox) else box
    assert tuple(upright) == pytest.approx(expected)
    if name not in ("thousandths", "pixels", "padded") and "|<" not in text[:3] and name != "geochat":
        assert detect_notation(text) == name


def test_padding_of_an_upright_format_picture_is_at_the_sides():
    ((box,),) = [found.boxes for found in find_boxes("[0.5,0.25,0.75,0.5]", "padded", (301, 600))]
    left = int((600 - 301) / 2)  # 149, as the published rule rounds
    assert tuple(box) == pytest.approx(((300 - left) / 301, 0.25, (450 - left) / 301, 0.5))
    assert write_box(Box(0, 0, 1, 1), "padded", (1, 6)) == "[0.33, 0.00, 0.50, 1.00]"  # columns 2 to 3 of 6


@pytest.mark.parametrize(
    ("text", "corners"),
    [
        ("[0.1,0.2,0.3,0.2,0.3,0.4,0.1,0.4]", "fractions"),
        ("<quad>(100,200),(300,200),(300,400),(100,400)</quad>", "qwen"),
        ("[100,200,300,200,300,400,100,400]", "thousandths"),
    ],
)
def test_eight_numbers_are_an_oriented_box(text, corners):
    ((box,),) = [found.boxes for found in find_boxes(text, corners)]
    assert tuple(box) == pytest.approx((0.1, 0.2, 0.3, 0.2, 0.3, 0.4, 0.1, 0.4))


def test_the_angle_turns_clockwise_as_seen_and_in_pixels():
    # 80 x 20 pixels in the middle of 800 x 600, turned by 90 degrees: 20 x 80
    text = f"{{<45><{round(100 * 290 / 600)}><55><{round(100 * 310 / 600)}>|<90>}}"
    ((box,),) = [found.boxes for found in find_boxes(text, "geochat", SIZE)]
    x1, y1, x2, y2 = box.upright().to_pixels(*SIZE)
    # the hundredths 48 and 52 of 600 are 24 pixels
    assert (x2 - x1, y2 - y1) == pytest.approx((24, 80))
    ((box,),) = [found.boxes for found in find_boxes("{<40><40><60><60>|<10>}", "geochat")]
    (left, top), (right, further) = box.corners[:2]
    assert further > top and right > left  # the upper side falls to the right


def test_what_geochat_publishes_is_told_apart_and_listed():
    text = "{<8><82><16><90>|<69>}{<6><44><14><48>|<32>}"
    assert detect_notation(text) == "geochat"
    boxes = [found.boxes[0] for found in find_boxes(text, "geochat")]
    assert [box.centre_form()[:2] for box in boxes] == [pytest.approx((0.12, 0.86)), pytest.approx((0.10, 0.46))]
    assert convert(text, "geochat", "geochat") == "{<8><82><16><90>|<69>}<delim>{<6><44><14><48>|<32>}"
    assert convert("{<10><20><30><40>|<0>}", "geochat", "skyeye") == "{<10><20><30><40>}"


def test_a_turned_box_is_none_of_ours():
    assert find_boxes("{<10><20><30><40>|<5>}", "skyeye") == []


def test_lists_of_mmrs_become_lists_of_ours():
    text = "There are <p>2 ships</p>[0.75,0.69,0.77,0.71;0.1,0.2,0.29,0.4]."
    assert convert(text, "fractions", "skyeye") == (
        "There are <p>2 ships</p> {<75><69><77><71>}<delim>{<10><20><29><40>}."
    )


def test_marks_of_a_phrase():
    ours = "<p>a ship</p> {<12><34><56><78>} at sea"
    theirs = "<ref>a ship</ref> <box>(120,340),(560,780)</box> at sea"
    assert convert(theirs, "qwen", "skyeye") == ours
    assert convert(theirs.replace("> <", "><"), "qwen", "skyeye") == ours
    assert convert(ours, "skyeye", "qwen") == theirs


@pytest.mark.parametrize("text", ["[12, 34, 56, 78]", "[3, 0, 0, 3]", "at [10, 20, 30, 40] and [0.5]"])
def test_whole_numbers_in_brackets_are_not_guessed(text):
    assert detect_notation(text) is None and is_ambiguous(text)


@pytest.mark.parametrize(
    "text", ["[1, 2, 3, 4]", "[0, 0, 1, 1]", "Options: [10, 20, 300, 400]", "one of [9, 9, 30, 40]"]
)
def test_choices_and_what_is_smaller_than_any_object_are_words(text):
    assert detect_notation(text) is None and not is_ambiguous(text)


@pytest.mark.parametrize(
    "text", ["", "no box", "[0.5, 0.5]", "{<1><2><3>}", "(1,2),(3,4)", "{a b}", "[1, 2, 3]", "[a]"]
)
def test_no_box(text):
    assert detect_notation(text) is None and not is_ambiguous(text)
    assert all(find_boxes(text, name, SIZE) == [] for name in NOTATIONS)


def test_what_cannot_be_read_is_refused_in_words():
    with pytest.raises(SkyEyeError, match="unknown notation 'geo'"):
        find_boxes("", "geo")
    for name in NEED_SIZE:
        with pytest.raises(SkyEyeError, match="need the size of the image"):
            find_boxes("", name)
    with pytest.raises(SkyEyeError, match="has no area"):
        find_boxes("", "pixels", (0, 5))


SIDES = st.tuples(*[st.floats(0.0, 1.0)] * 4).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)
#: Largest error of one number when a box is written and read again, in fractions: half a step, of skyeye a whole one.
STEP = {
    "skyeye": (0.01, 0.01),
    "geochat": (0.005, 0.005),
    "fractions": (0.005, 0.005),
    "padded": (0.005, 0.005 * 800 / 600),
    "thousandths": (0.0005, 0.0005),
    "vhm": (0.0005, 0.0005),
    "bbox": (0.005, 0.005),
    "qwen": (0.0005, 0.0005),
    "pixels": (0.5 / 800, 0.5 / 600),
    "hundredths": (1e-12, 1e-12),
    "braces_1000": (0.0005, 0.0005),
    "bbox_2d": (0.0005, 0.0005),
    "qwen25": (0.5 / 812, 0.5 / 588),  # 29 x 28 and 21 x 28
}


@pytest.mark.parametrize("name", NOTATIONS)
@given(sides=SIDES)
@example(sides=(0.0, 0.0, 0.0, 4.2e-11))  # nearly nothing, yet written
@example(sides=(0.0, 0.0, 0.29, 0.290000005))
def test_writing_and_reading_changes_no_more_than_the_rounding(name, sides):
    text = write_box(Box(*sides), name, SIZE)
    ((box,),) = [found.boxes for found in find_boxes(text, name, SIZE)]
    upright = box.upright() if isinstance(box, OrientedBox) else box
    for index, (before, after) in enumerate(zip(sides, upright, strict=True)):
        assert abs(before - after) <= STEP[name][index % 2] + 1e-9
    assert write_box(box, name, SIZE) == text  # and a second time nothing changes


@pytest.mark.parametrize("name", ["fractions", "padded", "thousandths", "qwen", "pixels", "hundredths"])
@given(corners=st.tuples(*[st.floats(0.0, 1.0)] * 8))
def test_corners_survive_where_the_notation_holds_them(name, corners):
    text = write_box(OrientedBox(*corners), name, SIZE)
    ((box,),) = [found.boxes for found in find_boxes(text, name, SIZE)]
    for index, (before, after) in enumerate(zip(corners, box, strict=True)):
        assert abs(before - after) <= STEP[name][index % 2] + 1e-9


@given(st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.02, 0.4), st.floats(0.02, 0.4), st.floats(0, 179))
def test_an_oriented_box_in_geochat_s_notation_is_off_by_its_rounding(cx, cy, width, height, angle):
    before = OrientedBox.from_centre(cx, cy, width, height, angle)
    ((after,),) = [found.boxes for found in find_boxes(write_box(before, "geochat"), "geochat")]
    # each side of the box moves by half a hundredth, and half a degree turns a corner about the centre
    bound = 0.005 * math.sqrt(2) * 2 + math.radians(0.5) * math.hypot(width, height) / 2
    for corner in before.corners:
        assert min(math.dist(corner, other) for other in after.corners) <= bound


@given(st.lists(SIDES, min_size=1, max_size=4), st.sampled_from(list(NOTATIONS)), st.sampled_from(list(NOTATIONS)))
def test_every_box_of_a_text_is_converted_and_the_words_stay(boxes, source, target):
    text = "see " + " and ".join(write_box(Box(*sides), source, SIZE) for sides in boxes) + " there."
    rewritten = convert(text, source, target, SIZE)
    assert rewritten.startswith("see ") and rewritten.endswith(" there.")
    assert rewritten.count(" and ") == len(boxes) - 1
    assert len(find_boxes(rewritten, target, SIZE)) == len(boxes)


@given(st.text(alphabet="{}<>[]()|;,.-0123456789 pbox/\n", max_size=80))
def test_any_text_is_read_without_an_error(text):
    detect_notation(text)
    for name in NOTATIONS:
        convert(text, name, "skyeye", SIZE)


@pytest.mark.parametrize(
    "text",
    [
        *[
            piece * (200_000 // len(piece))
            for piece in ("<box>(1,", "<ref>", "<p>", "[[", "[1,2,3,4;", "{<1><2><3><4>|")
        ],
        *[
            start + " " * 200_000
            for start in ("{<1><2><3><4>", "{<1>", "[1", "[1,2,3,4", "[ [", "<box>(1,2)", "{<1><2><3><4>|")
        ],
    ],
    ids=lambda text: text[:14].strip(),
)
def test_hostile_text_takes_no_time(text):
    start = time.perf_counter()
    for name in NOTATIONS:
        convert(text, name, "qwen", SIZE)
    assert time.perf_counter() - start < 10


UNCLIPPED = replace(SKYEYE, clip=False)
HUNDREDTHS = st.integers(0, 100)
CORNERS = st.tuples(HUNDREDTHS, HUNDREDTHS, HUNDREDTHS, HUNDREDTHS).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)


@pytest.mark.golden
def test_text_of_a_box_equals_the_reference(golden):
    for case in json.loads((golden / "boxes.json").read_text())["to_text"]:
        box = Box.from_xywh_pixels(*case["xywh"], case["image_width"], case["image_height"])
        assert UNCLIPPED.write(box) == case["text"]
        numbers = [min(max(int(n), 0), 100) for n in case["text"].strip("{<>}").split("><")]
        assert SKYEYE.write(box) == "{" + "".join(f"<{n}>" for n in numbers) + "}"


@given(st.lists(CORNERS, max_size=4))
def test_numbers_survive_reading_and_writing(corners):
    text = "<delim>".join("{" + "".join(f"<{n}>" for n in box) + "}" for box in corners)
    assert SKYEYE.write_list(read_answer_boxes(text)) == text


def test_a_box_outside_the_image_is_clipped_unless_the_reference_is_asked_for():
    box = Box.from_pixels(-30, 10, 130, 50, width=100, height=100)
    assert SKYEYE.write(box) == "{<0><10><100><50>}"
    assert UNCLIPPED.write(box) == "{<-30><10><130><50>}"
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
    assert read_answer_boxes(text) == []
    assert len(read_answer_boxes(f"{text} and {{<1><2><3><4>}}")) == 1


@given(st.text(alphabet="{}<>0123456789 ,ab", max_size=60))
def test_any_text_gives_boxes_with_corners_in_order(text):
    for box in read_answer_boxes(text):
        assert box.x1 <= box.x2 and box.y1 <= box.y2


def test_spaces_and_unknown_marks_are_ignored_as_in_the_reference():
    assert SKYEYE.write_list(read_answer_boxes("{ <1> <2><unk><3>\n<4> }")) == "{<1><2><3><4>}"


def test_grounded_phrases():
    first, second, third = Box(0.1, 0.2, 0.3, 0.4), Box(0.5, 0.5, 0.75, 1.0), Box(0.0, 0.0, 1.0, 1.0)
    mentions = (Mention((first, second), "two ships"), Mention((third,), "a road"))
    style = MiniGPTv2()
    text = style.answer(Turn("", f"{MARK} near {MARK}.", mentions=mentions))
    assert text == (
        "<p>two ships</p> {<10><20><30><40>}<delim>{<50><50><75><100>} near <p>a road</p> {<0><0><100><100>}."
    )
    assert [(phrase, len(boxes)) for phrase, boxes in style.read_phrases(text)] == [("two ships", 2), ("a road", 1)]
    assert style.read_phrases("<p>a ship</p> is there, <p> {<1><2><3><4>}") == [("a ship", [])]
