"""Of a score near zero it is said what the answers look like; of sound answers nothing is."""

from __future__ import annotations

import pytest

from skyeye.data.record import Record, Turn
from skyeye.eval.benchmarks import select
from skyeye.eval.near_zero import near_zero
from skyeye.eval.results import Answer

VQA, REFER, SCENE, CAPTION = (select([name])[0] for name in ("rsvqa_lr", "dota.refer", "aid.scene", "ucm.caption"))
WORDS = ["forest", "harbor", "two planes", "urban", "many cars", "lake"]


def records(truths: list, key: str = "answer", **more) -> list[Record]:
    turn = (Turn("what?", "", "vqa"),)
    return [
        Record(f"test:{n}", "x", "vqa", "test", (f"{n}.png",), turn, references={key: truth, **more})
        for n, truth in enumerate(truths)
    ]


def said(benchmark, asked, answers) -> str:
    given = [Answer(text) for text in answers]
    if benchmark.output == "boxes":
        from skyeye.eval.answers.boxes import in_notation, read_boxes

        given = read_boxes(asked, given, in_notation(None))
    return " | ".join(near_zero(benchmark, asked, given, benchmark.metric(asked, given)))


TRUTHS = [WORDS[n % 6] for n in range(120)]
FORMS = {
    "begin with 'I can see'": lambda n: f"I can see {TRUTHS[n]}",
    "end with ', in this picture'": lambda n: f"{TRUTHS[n]}, in this picture",
    "answers have 9 words (median), the expected ones 1": lambda n: f"{n} well one sees here so much of {TRUTHS[n]}",
    "120 answers are empty": lambda n: " ",
    "all answers are 'yes', and 6 different ones are expected": lambda n: "yes",
    "single letters (A, B, C, D), as of multiple choice": lambda n: "ABCD"[n % 4],
    "in other letters": lambda n: "\u68ee\u6797" + str(n),
    "those of the record before them": lambda n: TRUTHS[n - 1],
    "those of the record behind them": lambda n: TRUTHS[(n + 1) % 120],
    "test:60 is answered 'word60' where 'forest' is expected": lambda n: f"word{n}",
}


@pytest.mark.parametrize("words", FORMS)
def test_what_the_answers_look_like(words):
    assert words in said(VQA, records(TRUTHS), map(FORMS[words], range(120)))


@pytest.mark.parametrize("form", [lambda n: TRUTHS[n], lambda n: TRUTHS[n].upper() if n % 2 else "no idea"])
def test_of_answers_that_score_nothing_is_said(form):
    assert said(VQA, records(TRUTHS), map(form, range(120))) == ""


def test_records_without_an_answer_are_no_empty_answers():
    asked, given = records(TRUTHS), [None] * 119 + [Answer("yes")]
    assert near_zero(VQA, asked, given, VQA.metric(asked, [Answer()] * 120)) == []


def test_one_answer_is_said_whatever_it_scores():
    asked = records(["yes", "no"] * 60)
    assert said(VQA, asked, ["yes"] * 120) == "all answers are 'yes', and 2 different ones are expected"
    assert said(VQA, records(["yes"] * 120), ["yes"] * 120) == ""
    assert said(VQA, records(["yes", "no"] * 20), ["yes"] * 40) == "", "too few to say anything"


def test_classes_and_captions():
    classes = [f"class{n % 5}" for n in range(100)]
    asked = records(classes, classes=sorted(set(classes)))
    assert "begin with 'Category" in said(SCENE, asked, [f"Category number {n % 7}" for n in range(100)])


BOXES = [(0.1 + n % 7 / 20, 0.2 + n % 5 / 20, 0.3 + n % 7 / 20, 0.6 + n % 5 / 20) for n in range(100)]


def braces(box) -> str:
    return "{" + "".join(f"<{round(100 * number)}>" for number in box) + "}"


@pytest.mark.parametrize(
    ("words", "form"),
    [
        ("boxes look like x1, y1, x2, y2 in 0..1000: score it with --boxes auto",
         lambda b: "{" + "".join(f"<{round(1000 * v)}>" for v in b) + "}"),
        ("boxes look like y1, x1, y2, x2 in 0..100: score it with --boxes auto",
         lambda b: braces((b[1], b[0], b[3], b[2]))),
        ("boxes look like x, y, width, height in 0..100",
         lambda b: braces((*b[:2], b[2] - b[0], b[3] - b[1]))),
        ("x1, y1, x2, y2 in pixels: score it with --boxes auto",
         lambda b: "[" + ", ".join(str(round(400 * v)) for v in b) + "]"),
        ("0 of 100 answers hold four numbers", lambda b: "top left"),
    ],
)  # fmt: skip
def test_boxes_in_another_form(words, form):
    asked = records([[box] for box in BOXES], "boxes", size=(400, 400))
    assert words in said(REFER, asked, map(form, BOXES))


def test_boxes_that_fit_are_left_alone():
    asked = records([[box] for box in BOXES], "boxes", size=(400, 400))
    assert said(REFER, asked, map(braces, BOXES)) == ""
