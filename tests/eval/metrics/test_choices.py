import pytest

from skyeye.data.formats.base.choices import choice_record, letters_in, options_in, reordered
from skyeye.data.formats.base.problems import BadRecord
from skyeye.eval.benchmarks.choices import in_every_turn
from skyeye.eval.metrics.choices import choices, letters_said
from skyeye.eval.results import Answer

OPTIONS = ["a ship", "a small plane", "a plane", "a car"]


def question(number=0, answer="C", options=OPTIONS, **references):
    return choice_record(
        "What is it?", options, answer, id=f"q{number}", source="", split="test", images=(f"{number}.png",), where="",
        references=references,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("C", "C"),
        ("(C)", "C"),
        ("C. a plane", "C"),
        ("The answer is B", "B"),
        ("answer: (d)", "D"),
        ("A, C", "AC"),
        ("AC", "AC"),
        ("a plane", "C"),
        ("It is a small plane.", "B"),
        ("A ship", "A"),
        ("A ship and a car", ""),
        ("F", ""),
        ("", ""),
        ("I cannot tell", ""),
    ],
)
def test_what_an_answer_names(text, letters):
    assert letters_said(text, OPTIONS) == letters


@pytest.mark.parametrize(
    "written",
    [
        ["x", "y", "z"],
        ["A. x", "B. y", "C. z"],
        ["(A) x", "(B) y", "(C) z"],
        "A. x; B. y; C. z",
        "A. x B. y C. z",
        "(A) x\n(B) y\n(C) z",
    ],
)
def test_options_as_files_write_them(written):
    assert options_in(written, "") == ["x", "y", "z"]


@pytest.mark.parametrize(
    "written", [["x"], "A. x", "A. x C. y", None, 3, ["x", ""], ["x", "x"], [str(n) for n in range(17)]]
)
def test_no_options(written):
    with pytest.raises(BadRecord, match="options are not"):
        options_in(written, "")


@pytest.mark.parametrize(
    ("value", "letters"), [("B", "B"), ("(B)", "B"), ("B.", "B"), ("A,C", "AC"), ("y", "B"), ("CA", "AC")]
)
def test_the_right_letters(value, letters):
    assert letters_in(value, ["x", "y", "z"], "") == letters


@pytest.mark.parametrize("value", ["D", "", None, float("nan"), "no"])
def test_no_right_letter(value):
    with pytest.raises(BadRecord, match="is none of the options A to C"):
        letters_in(value, ["x", "y", "z"], "")


def test_every_option_stands_once_at_every_letter():
    asked = in_every_turn(question())
    assert [record.id for record in asked] == ["q0:0", "q0:1", "q0:2", "q0:3"]
    assert sorted(record.references["answer"] for record in asked) == ["A", "B", "C", "D"]
    for place in range(4):
        assert sorted(record.references["options"][place] for record in asked) == sorted(OPTIONS)
    for record in asked:
        letter = record.references["answer"]
        assert f"{letter}. a plane" in record.turns[0].question and record.turns[0].answer == letter
    assert [r.turns for r in in_every_turn(question())] == [r.turns for r in asked]  # the same every time
    assert reordered(question(answer="AC"), [3, 2, 1, 0], 0).references["answer"] == "BD"


def test_perfect_shuffled_and_chance():
    """Two questions of four and of two options: six presentations.

    Who says "A" to everything is right once for each question: 2 of 6, in no question every time, and the votes of each
    are a tie. Who names a wrong option every time is never right.
    """
    pair = question(1, "A", ["yes", "no"])
    records = [*in_every_turn(question()), *in_every_turn(pair)]
    truths = [Answer(record.turns[0].answer) for record in records]
    scores = choices(records, truths)
    assert scores.metrics == {
        "accuracy": 100,
        "chance": pytest.approx(100 * (4 / 4 + 2 / 2) / 6),
        "circular_accuracy": 100,
        "circular_chance": pytest.approx(100 * (0.25**4 + 0.5**2) / 2),
        "voted_accuracy": 100,
    }
    same = choices(records, [Answer("A")] * 6).metrics
    assert (same["accuracy"], same["circular_accuracy"], same["voted_accuracy"]) == (pytest.approx(100 * 2 / 6), 0, 0)
    wrong = {"A": "B", "B": "C", "C": "D", "D": "A"}
    shuffled = [Answer(wrong[r.turns[0].answer] if len(r.references["options"]) == 4 else "no") for r in records]
    assert choices(records, shuffled).metrics["accuracy"] == 0
    most = [*truths[:3], Answer("a car"), *truths[4:]]
    assert choices(records, most).metrics["voted_accuracy"] == 100
    assert choices(records, most).metrics["circular_accuracy"] == 50


def test_parts_and_questions_that_were_not_asked_whole():
    records = in_every_turn(question(type="Object kind")) + in_every_turn(question(1, types=["identity", "color"]))
    answers = [Answer(record.turns[0].answer) for record in records]
    scores = choices(records[1:], answers[1:])
    assert scores.counts["questions not asked in every order"] == 1 and scores.metrics["circular_accuracy"] == 100
    parts = choices(records, [*answers[:4], *[Answer()] * 4])
    assert [parts.metrics[f"accuracy/{kind}"] for kind in ("object_kind", "identity", "color")] == [100, 0, 0]
    assert parts.counts["answers that name no option"] == 4


def test_several_right_options():
    records = in_every_turn(question(answer="AC"))
    assert choices(records, [Answer(r.turns[0].answer) for r in records]).metrics["accuracy"] == 100
    half = choices(records, [Answer(r.turns[0].answer[0]) for r in records]).metrics
    assert half["accuracy"] == 0 and half["chance"] == pytest.approx(100 / 15)
