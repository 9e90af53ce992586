from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.geometry.boxes import iou
from skyeye.eval.metrics.normalise import normalise_answer, vqa_accuracy


@pytest.fixture
def cases(golden: Path) -> dict:
    return json.loads((golden / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.golden
def test_normalisation_equals_the_reference(cases):
    for case in cases["vqa_normalisation"]:
        assert normalise_answer(case["in"], "punctuation") == case["punctuation"], case
        assert normalise_answer(case["in"]) == case["full"], case


@pytest.mark.golden
def test_vqa_accuracy_equals_the_reference(cases):
    for case in cases["vqa_accuracy"]:
        value = 100 * vqa_accuracy(case["answer"], case["ground_truth"])
        assert value == pytest.approx(case["accuracy_percent"], abs=1e-6), case


@pytest.mark.golden
def test_iou_with_plus_one_equals_the_reference(cases):
    for case in cases["iou_plus_one"]:
        assert iou(case["a"], case["b"], plus_one=True) == pytest.approx(case["iou"], abs=1e-9), case


def test_consensus_of_three_is_full_marks_and_two_is_less():
    assert vqa_accuracy("ship", ["ship"] * 4 + ["boat"] * 6) == 1.0
    # leaving out one of three leaves two: (3 * 2/3 + 7 * 1) / 10
    assert vqa_accuracy("ship", ["ship"] * 3 + ["boat"] * 7) == pytest.approx(0.9)
    # one match: skipped once (0), else 1/3 nine times
    assert vqa_accuracy("ship", ["ship"] + ["boat"] * 9) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.", "yes"),
        ("The two ships", "2 ships"),
        ("theyre", "they're"),
        ("a shed", "shed"),  # not "she'd"
        ("were", "were"),
        ("1,000m2", "1000m2"),
        ("", ""),
    ],
)
def test_full_normalisation(text, expected):
    assert normalise_answer(text) == expected


@given(st.text())
def test_full_normalisation_never_leaves_stray_space_or_capitals(text):
    result = normalise_answer(text)
    assert result == " ".join(result.split())
    assert result == result.lower()
