"""How families are asked for boxes and how these are read, by numbers that arithmetic gives."""

from __future__ import annotations

import random

import pytest

from skyeye.data.geometry.box_text import NOTATIONS
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.images.smart_resize import SmartResize
from skyeye.data.record import MARK, Mention, Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.boxes import in_notation, records_as_shown
from skyeye.eval.answers.output_format import without_output_format
from skyeye.eval.box_detective import detect
from skyeye.eval.box_families import ANY, FAMILIES, box_family
from skyeye.eval.box_frame import ORDERS, Frame, numbers_in
from skyeye.eval.other_style import OtherStyle
from skyeye.eval.question import asked

#: 800 x 600 is read as 812 x 588 (29 and 21 patches of 28): half of it is 406 x 294.
SIZE = (800, 600)
QWEN = '```json\n[\n\t{"bbox_2d": [203, 147, 406, 294], "label": "the red plane"}\n]\n```'


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("qwen_absolute", QWEN),
        ("qwen_absolute", '{"bbox_2d": [203, 147, 406, 294], "label": "plane"}'),
        ("qwen_absolute", "The plane is at (203,147),(406,294)."),
        ("norm1000", '[{"bbox_2d": [250, 250, 500, 500], "label": "plane"}]'),
        ("norm1000", "<|object_ref_start|>plane<|object_ref_end|><|box_start|>(250,250),(500,500)<|box_end|>"),
        ("gemini", '[{"box_2d": [250, 250, 500, 500], "label": "plane"}]'),
        ("norm1", "It is at [0.25, 0.25, 0.5, 0.5]."),
        ("pixels", "[200, 150, 400, 300]"),
        ("geochat", "{<25><25><50><50>|<0>}"),
        ("fractions", "[0.25, 0.25, 0.50, 0.50]"),
        ("qwen", "<box>(250,250),(500,500)</box>"),
    ],
)
def test_boxes_of_a_family(family, text):
    style = OtherStyle(box_family(family), family)
    plain, _ = without_output_format(text)
    assert [tuple(box) for box in style.read_boxes(plain, SIZE)] == [pytest.approx((0.25, 0.25, 0.5, 0.5))]
    assert [tuple(box) for box in in_notation(family)(plain, SIZE)] == [pytest.approx((0.25, 0.25, 0.5, 0.5))]


def test_y_before_x():
    style = OtherStyle(box_family("gemini"), "gemini")
    assert tuple(style.read_boxes('{"box_2d": [100, 200, 300, 600]}', SIZE)[0]) == pytest.approx((0.2, 0.1, 0.6, 0.3))


def test_the_frame_of_the_resized_image_is_that_of_the_models_own_processor():
    small = SmartResize(28, 3_136, 28 * 28 * 16)  # 800 x 600 becomes 112 x 84
    assert small(SIZE) == (112, 84)
    style = OtherStyle(box_family("qwen_absolute", small), "qwen_absolute")
    assert tuple(style.read_boxes("[28, 21, 56, 42]", SIZE)[0]) == pytest.approx((0.25, 0.25, 0.5, 0.5))
    assert "multiples of 28, 3,136 to 12,544 pixels" in style.reading
    assert box_family("norm1", small) is FAMILIES["norm1"]


def test_what_is_no_box_is_not_read():
    style = OtherStyle(box_family("norm1000"), "norm1000")
    assert style.read_boxes("[500, 500, 250, 250] [1, 2, 3]", SIZE) == []
    assert OtherStyle(box_family("qwen_absolute"), "qwen_absolute").read_boxes(QWEN, None) == []


def test_an_unknown_family_names_all():
    with pytest.raises(SkyEyeError, match="unknown way of writing boxes 'qwenn'.*qwen_absolute, norm1000.*auto"):
        box_family("qwenn")


@pytest.mark.parametrize("name", [*FAMILIES, "vhm", "hundredths"])
@pytest.mark.parametrize("size", [(800, 600), (333, 500)])
def test_every_family_reads_the_boxes_it_writes_in_questions(name, size):
    box = Box(0.21, 0.32, 0.55, 0.87)
    style = OtherStyle(box_family(name), name)
    question = Turn(f"what is {MARK}?", "a plane", "identify", (Mention((box,)),))
    record = Record("r", "x", "identify", "test", ("a.png",), (question,), {"size": size, "boxes": [list(box)]})
    text = asked(record, style)
    assert MARK not in text
    assert [tuple(found) for found in style.read_boxes(text, size)] == [pytest.approx(tuple(box), abs=0.011)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("padded", "first"), [("", 0), ("centre", 0), ("corner", 1), ("", 1)])
def test_a_frame_reads_what_it_writes(order, padded, first):
    frame = Frame("pixels", None, order=order, padded=padded, first=first)
    box, size = Box(0.1, 0.2, 0.7, 0.5), (1000, 700)
    (numbers,) = numbers_in(frame.write(box, size))
    assert tuple(frame.read(numbers, size)) == pytest.approx(tuple(box), abs=0.002)
    turned = OrientedBox(0.4, 0.1, 0.7, 0.3, 0.4, 0.5, 0.1, 0.3)
    assert frame.write(turned, size) == frame.write(Box(0.1, 0.1, 0.7, 0.5), size)


def test_geochat_is_asked_in_its_own_words():
    style = OtherStyle(box_family("geochat"), "geochat")
    assert style.question(Turn("give me the location of <p> a plane </p>", "", "refer")) == (
        "[refer] give me the location of <p> a plane </p>"
    )
    assert OtherStyle(box_family("norm1"), "norm1").question(Turn("a plane", "", "refer")) == "a plane"


@pytest.mark.parametrize("name", FAMILIES)
def test_wordings_ask_for_the_phrase_or_keep_the_question(name):
    family = FAMILIES[name]
    assert "{phrase}" in family.prompt("refer") and "{phrase}" in family.prompt("phrase_grounding")
    assert family.prompt("detection") == family.prompt("phrase_grounding")
    assert family.prompt("some other") is None or "{question}" in family.prompt("some other")
    assert box_family("vhm").prompt("refer") is None, "a notation alone keeps the benchmark's words"
    assert "{phrase}" in ANY.prompt("refer")


def test_before_it_is_known_no_box_can_be_written():
    style = OtherStyle(ANY, None)
    assert style.read_boxes("[1, 2, 3, 4]", SIZE) == []
    with pytest.raises(SkyEyeError, match="before it is known how the model writes boxes"):
        style.question(Turn(f"what is {MARK}?", "", "identify", (Mention((Box(0, 0, 1, 1),)),)), SIZE)


def _answers(frame, size, count=50):
    rng = random.Random(3)
    records, texts = [], []
    for n in range(count):
        width, height = rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.4)
        x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        references = {"boxes": [(x, y, x + width, y + height)], "size": size}
        records.append(Record(f"r{n}", "x", "refer", "test", (f"{n}.png",), (Turn("?", "", "refer"),), references))
        texts.append(frame.write(Box(x, y, x + width, y + height), size))
    return records, texts


def test_the_detective_knows_the_pixels_of_the_models_own_image():
    rule = SmartResize(28, 3_136, 28 * 28 * 256)  # 800 x 600 becomes 504 x 364
    records, texts = _answers(Frame("pixels", None, resized=rule), SIZE)
    assert rule(SIZE) == (504, 364)
    known = detect(records, texts, rule)
    assert known.frame == Frame("pixels", None, resized=rule)
    assert "the image as the model reads it" in str(known)
    style = OtherStyle(ANY, None)
    style.learn(known)
    assert tuple(style.read_boxes("[126, 91, 252, 182]", SIZE)[0]) == pytest.approx((0.25, 0.25, 0.5, 0.5))
    assert style.question(Turn(MARK, "", "identify", (Mention((Box(0.25, 0.25, 0.5, 0.5),)),)), SIZE) == (
        "[126, 91, 252, 182]"
    )


def test_the_detective_is_not_misled_by_a_rule_that_does_not_hold():
    rule = SmartResize(28, 3_136, 28 * 28 * 256)
    for frame in (Frame("0..1000", 1000.0), Frame("pixels", None), Frame("0..1", 1.0)):
        verdict = detect(*_answers(frame, SIZE), rule)
        assert frame in (verdict.frame, *verdict.alike), str(verdict)


def test_sizes_of_the_annotation_are_not_those_of_a_wrong_picture():
    record = Record("r", "x", "refer", "test", ("a.png",), (Turn("?", ""),), {"size": SIZE, "boxes": []})
    assert records_as_shown([record])[0].references == {"boxes": []}
    assert set(NOTATIONS) & set(FAMILIES) == {"pixels", "geochat"}
