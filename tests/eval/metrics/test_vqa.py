from __future__ import annotations

import pytest

from skyeye.data.record import Record, Turn
from skyeye.eval import metrics
from skyeye.eval.metrics import question_type
from skyeye.eval.results import Answer


def vqa(records, texts, **options):
    return metrics.vqa(records, [Answer(text) for text in texts], **options)


def record(answer: str, kind: str | None = None) -> Record:
    references = {"answer": answer} | ({"type": kind} if kind else {})
    return Record("id", "test", "vqa", "test", ("a.png",), (Turn("[vqa] question", answer),), references)


VQA = [record("yes", "presence"), record("no", "presence"), record("two", "count"), record("5", "count")]
VQA += [record("no", "comp")]


def test_perfect_empty_and_partly_right():
    perfect = vqa(VQA, ["Yes.", "no", "2", "five", "No"])
    assert perfect.metrics == {
        "accuracy": 100,
        "mean_over_types": 100,
        "accuracy/presence": 100,
        "accuracy/count": 100,
        "accuracy/comparison": 100,
        "count_error": 0,
    }
    empty = vqa(VQA, [""] * 5)
    assert empty.metrics["accuracy"] == empty.metrics["mean_over_types"] == 0
    assert empty.metrics["count_error"] is None
    assert empty.counts == {"presence": 2, "count": 2, "comparison": 1, "count answers without a number": 2}
    some = vqa(VQA, ["yes", "yes", "3", "nine", "no"])
    assert some.metrics["accuracy"] == pytest.approx(100 * 2 / 5)
    assert some.metrics["mean_over_types"] == pytest.approx((50 + 0 + 100) / 3)
    assert some.metrics["count_error"] == pytest.approx((1 + 4) / 2)
    assert [item["correct"] for item in some.items] == [True, False, False, False, True]


def test_one_word_off_is_wrong():
    assert vqa(VQA[:1], ["yes there"]).metrics["accuracy"] == 0


def test_shuffled_answers_are_right_as_often_as_they_happen_to_agree():
    # yes no two 5 no, moved on by one: no yes no two 5; only the fourth of them could agree, and 5 is not two
    truths = [r.references["answer"] for r in VQA]
    assert vqa(VQA, truths[-1:] + truths[:-1]).metrics["accuracy"] == 0
    # by two: 5 no yes no two: the second is "no" in both
    assert vqa(VQA, truths[-2:] + truths[:-2]).metrics["accuracy"] == 20


def test_mean_over_chosen_types():
    scores = vqa(VQA, ["yes", "no", "x", "x", "yes"], mean_types=("presence", "comparison", "rural_urban"))
    assert scores.metrics["mean_over_types"] == pytest.approx((100 + 0) / 2)
    assert vqa(VQA, [""] * 5, mean_types=("rural_urban",)).metrics["mean_over_types"] is None


def test_counting_error_takes_the_first_number_and_only_of_counting_questions():
    records = [record("10", "count"), record("1,000", "count"), record("7", "presence")]
    scores = vqa(records, ["about 12 or 13 cars", "990", "2"])
    assert scores.metrics["count_error"] == pytest.approx((2 + 10) / 2)


@pytest.mark.parametrize("answer", ["9" * 5000, "many", "-", "٣" * 400])
def test_what_is_no_count_is_counted_as_such(answer):
    scores = vqa([record("3", "count")], [answer])
    assert scores.metrics["count_error"] is None
    assert scores.counts["count answers without a number"] == 1


def test_nothing_to_score_is_none_not_zero():
    assert vqa([], []).metrics == {"accuracy": None, "mean_over_types": None}


@pytest.mark.parametrize(
    ("name", "common"),
    [("comp", "comparison"), ("rural_or_urban", "rural_urban"), ("Urban/Rural", "rural_urban"), ("count", "count")],
)
def test_types_have_one_name(name, common):
    assert question_type(record("x", name)) == common
    assert question_type(record("x")) is None
