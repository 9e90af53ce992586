"""The rules that turn boxes into questions, on scenes whose answers are clear by construction."""

import inspect
import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.formats.base.problems import Problem
from skyeye.data.formats.detection.base import (
    Annotated,
    Labelled,
    class_words,
    expressions,
    plural,
    reader_of,
    samples,
    with_article,
)
from skyeye.data.geometry.box_text import SKYEYE, read_answer_boxes
from skyeye.data.geometry.boxes import Box
from skyeye.data.prompts import MiniGPTv2
from skyeye.data.record import MARK, Mention, Turn

STYLE = MiniGPTv2()


def thing(name, x1, y1, x2, y2, difficult=False):
    return Labelled(name, Box(x1, y1, x2, y2), "labels.txt, line 1", difficult)


def run(objects, split="train", style=STYLE, **arguments):
    """Records in MiniGPT-v2's words, and how many of which kind were skipped."""
    items = list(samples(Annotated("a.png", tuple(objects), "a", split, "labels.txt"), **arguments))
    problems = [item for item in items if isinstance(item, Problem)]
    records = [item for item in items if not isinstance(item, Problem)]
    texts = [tuple(Turn(style.question(turn), style.answer(turn)) for turn in record.turns) for record in records]
    written = [replace(record, turns=turns) for record, turns in zip(records, texts, strict=True)]
    return written, Counter(p.kind for p in problems)


def phrases(records, task):
    return [record.references["phrase"] for record in records if record.task == task]


def test_the_only_one_of_its_class():
    records, skipped = run([thing("bridge", 0.1, 0.2, 0.4, 0.3), thing("ship", 0.5, 0.5, 0.7, 0.7)], split="test")
    assert not skipped
    first = records[0]
    assert (first.task, first.images, first.split) == ("refer", ("a.png",), "test")
    assert first.turns[0].question == "[refer] where can I locate the bridge?"
    assert first.turns[0].answer == "{<10><20><40><30>}"
    assert first.references == {"boxes": [[0.1, 0.2, 0.4, 0.3]], "phrase": "the bridge"}
    assert [(r.phrase, r.box) for r in first.regions] == [
        ("bridge", (0.1, 0.2, 0.4, 0.3)),
        ("ship", (0.5, 0.5, 0.7, 0.7)),
    ]
    identify = records[1]
    assert identify.turns[0].question == "[identify] what object is in this location {<10><20><40><30>}"
    assert identify.turns[0].answer == "a bridge"
    assert phrases(records, "detection") == ["The bridge", "The ship"]


def test_several_of_a_class_are_told_apart_by_size_and_place():
    big = thing("car", 0.1, 0.1, 0.3, 0.3)
    right = thing("car", 0.8, 0.15, 0.9, 0.25)
    low = thing("car", 0.4, 0.8, 0.5, 0.9)
    cars = [big, right, low]
    assert expressions(big, cars) == ["the largest car", "the leftmost car"]  # no topmost: two are equally high
    assert expressions(right, cars) == ["the rightmost car"]
    assert expressions(low, cars) == ["the bottommost car"]
    records, _ = run(cars)
    assert Counter(r.task for r in records) == {"refer": 4, "identify": 3, "detection": 1}
    detection = records[-1]
    assert detection.turns[0].question == "[detection] The three cars"
    boxes = "{<10><10><30><30>}<delim>{<40><80><50><90>}<delim>{<80><15><90><25>}"
    assert detection.turns[0].answer == f"<p>The three cars</p> {boxes}"


def test_objects_too_alike_are_not_referred_to():
    twins = [thing("car", 0.1, 0.1, 0.2, 0.2), thing("car", 0.12, 0.12, 0.23, 0.22)]
    assert [expressions(car, twins) for car in twins] == [[], []]


def test_small_difficult_and_broken_objects_get_no_question_but_count():
    large = thing("ship", 0.1, 0.1, 0.5, 0.5)
    others = [
        thing("ship", 0.8, 0.8, 0.81, 0.81),
        thing("ship", 0.8, 0.2, 0.9, 0.3, difficult=True),
        thing("boat", 0.9, 0.9, 0.8, 1.0),
        thing("boat", 0.9, 0.9, 1.3, 1.0),
        thing("boat", math.nan, 0.9, 1.0, 1.0),
    ]
    records, skipped = run([large, *others])
    assert skipped == {"too small": 1, "difficult": 1, "inverted box": 2, "box outside the image": 1}
    assert phrases(records, "refer") == ["the largest ship", "the leftmost ship"]
    assert phrases(records, "detection") == []  # it could not name them all
    assert len(records[0].regions) == 1


def test_an_object_of_unknown_place_could_be_the_one_meant():
    ship, broken = thing("ship", 0.1, 0.1, 0.5, 0.5), thing("ship", 0.9, 0.9, 0.8, 1.0)
    assert expressions(ship, [ship, broken]) == []


def test_thin_objects_and_the_limit():
    bridge = [thing("bridge", 0.0, 0.5, 0.9, 0.525)]
    assert phrases(run(bridge)[0], "refer") == ["the bridge"]
    assert run([thing("bridge", 0.0, 0.5, 0.9, 0.515)])[1] == {"too small": 1}
    assert run(bridge, min_side=0.06)[1] == {"too small": 1}


def test_a_box_that_leaves_the_image_a_little_is_clipped():
    records, skipped = run([thing("plane", 0.8, 0.8, 1.04, 0.9)])
    assert not skipped
    assert records[0].turns[0].answer == "{<80><80><100><90>}"


def test_the_reference_does_not_clip():
    records, _ = run([thing("plane", 0.8, 0.8, 1.04, 0.9)], style=MiniGPTv2(replace(SKYEYE, clip=False)))
    refer, identify, detection = records
    assert refer.turns[0].answer == "{<80><80><104><90>}" and "<104>" in identify.turns[0].question
    assert detection.turns[0].answer == "<p>The plane</p> {<80><80><104><90>}"


def test_long_lists_are_not_asked_for():
    ships = [thing("ship", i / 10, 0.1, i / 10 + 0.05, 0.2) for i in range(9)]
    assert phrases(run(ships)[0], "detection") == []
    assert phrases(run(ships[:8])[0], "detection") == ["The eight ships"]
    assert phrases(run(ships, max_listed=9)[0], "detection") == ["The nine ships"]


@pytest.mark.parametrize(
    ("one", "many", "a"),
    [
        ("storage tank", "storage tanks", "a storage tank"),
        ("bus", "buses", "a bus"),
        ("ferry", "ferries", "a ferry"),
        ("airplane", "airplanes", "an airplane"),
        ("railway", "railways", "a railway"),
    ],
)
def test_words(one, many, a):
    assert (plural(one), with_article(one)) == (many, a)


def test_class_words():
    assert class_words("Large-Vehicle") == "large vehicle"


numbers = st.floats(-0.2, 1.2) | st.sampled_from([0.0, 0.5, 1.0, math.nan, math.inf])
scenes = st.lists(
    st.builds(thing, st.sampled_from(["ship", "car"]), numbers, numbers, numbers, numbers, st.booleans()), max_size=6
)


@given(scenes)
def test_every_object_is_asked_about_or_reported_and_no_phrase_means_two(objects):
    records, skipped = run(objects)
    assert sum(skipped.values()) + sum(r.task == "identify" for r in records) == len(objects)
    referred = phrases(records, "refer")
    assert len(referred) == len(set(referred))
    assert len({r.id for r in records}) == len(records)
    for record in records:
        assert all(0 <= v <= 1 for box in record.references["boxes"] for v in box)
        text = record.turns[0].question + record.turns[0].answer
        assert len(read_answer_boxes(text)) == text.count("{") == len(record.references["boxes"])


def test_records_hold_numbers_at_full_precision_and_no_tag():
    ship = Labelled("ship", Box(0.1234, 0.2, 0.4567, 0.3), "labels.txt, line 1")
    refer, identify, detection = samples(Annotated("a.png", (ship,), "a", "test", "labels.txt"))
    assert refer.turns == (Turn("where can I locate the ship?", MARK, "refer", (Mention((ship.box,)),)),)
    assert identify.turns[0].question == f"what object is in this location {MARK}"
    assert detection.turns[0].mentions == (Mention((ship.box,), "The ship"),)


def test_a_reader_takes_what_its_images_take_and_the_smallest_side():
    asked = []

    def annotated(path, images=None, split=None, *, names=()):
        asked.append((path, images, split, names))
        yield Problem("malformed line", "labels.txt, line 3", "is broken")
        yield Annotated("a.png", (thing("ship", 0.5, 0.5, 0.55, 0.55),), "a", "train", "labels.txt")

    read = reader_of(annotated)
    assert list(inspect.signature(read).parameters) == ["path", "images", "split", "names", "min_side"]
    kinds = [
        getattr(item, "kind", item.__class__) for item in read("here", split="test", names=("ship",), min_side=0.2)
    ]
    assert kinds == ["malformed line", "too small"] and asked == [("here", None, "test", ("ship",))]
    assert [item.task for item in list(read("here"))[1:]] == ["refer", "identify", "detection"]
