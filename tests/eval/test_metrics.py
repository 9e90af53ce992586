from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.boxes import Box, format_box, format_boxes
from skyeye.data.record import Record, Turn
from skyeye.eval import captions as captions_module
from skyeye.eval import metrics
from skyeye.eval.captions import CaptionScorer


@pytest.fixture(autouse=True)
def without_java(monkeypatch):
    monkeypatch.setattr(metrics, "default_scorer", lambda: CaptionScorer(java=None))


def record(task: str = "vqa", image: str = "a.png", **references) -> Record:
    turn = Turn(f"[{task}] question", str(references.get("answer", "")))
    return Record("id", "test", task, "test", (image,), (turn,), references)


VQA = [
    record(answer="yes", type="presence"),
    record(answer="no", type="presence"),
    record(answer="two", type="count"),
    record(answer="5", type="count"),
    record(answer="no", type="comp"),
]


def test_vqa_perfect_empty_and_partly_right():
    perfect = metrics.vqa(VQA, ["Yes.", "no", "2", "five", "No"])
    assert perfect.metrics == {
        "accuracy": 100,
        "mean_over_types": 100,
        "accuracy/presence": 100,
        "accuracy/count": 100,
        "accuracy/comparison": 100,
        "count_error": 0,
    }
    empty = metrics.vqa(VQA, [""] * 5)
    assert empty.metrics["accuracy"] == empty.metrics["mean_over_types"] == 0
    assert empty.metrics["count_error"] is None
    assert empty.counts["count answers without a number"] == 2
    some = metrics.vqa(VQA, ["yes", "yes", "3", "nine", "no"])
    assert some.metrics["accuracy"] == pytest.approx(100 * 2 / 5)
    assert some.metrics["mean_over_types"] == pytest.approx((50 + 0 + 100) / 3)
    assert some.metrics["count_error"] == pytest.approx((1 + 4) / 2)
    assert [item["correct"] for item in some.items] == [True, False, False, False, True]


def test_vqa_one_word_off_is_wrong():
    assert metrics.vqa(VQA[:1], ["yes there"]).metrics["accuracy"] == 0


def test_vqa_mean_over_chosen_types():
    scores = metrics.vqa(VQA, ["yes", "no", "x", "x", "yes"], mean_types=("presence", "comparison", "rural_urban"))
    assert scores.metrics["mean_over_types"] == pytest.approx((100 + 0) / 2)


def test_nothing_to_score_is_none_not_zero():
    assert metrics.vqa([], []).metrics["accuracy"] is None
    assert metrics.refer([], []).metrics["mean_iou"] is None
    assert metrics.phrase_grounding([], []).metrics["f1@0.5"] is None
    assert metrics.classification([], []).metrics["accuracy"] is None
    assert metrics.captions([], []).metrics == {}


def test_refer_arithmetic():
    boxed = record("refer", boxes=[[0.2, 0.2, 0.6, 0.6]], phrase="the plane")
    answers = [
        "{<20><20><60><60>}",  # IoU 1
        "it is {<20><20><60><40>}",  # half of it: exactly 0.5, which is not above 0.5
        "{<20><20><60><41>}",  # 21/40
        "{<60><60><90><90>}",  # beside it
        "nowhere",
        "{<0><0><1><1>} {<20><20><60><60>}",  # the first box counts
    ]
    scores = metrics.refer([boxed] * 6, answers)
    assert [item["correct"] for item in scores.items] == [True, False, True, False, False, False]
    assert scores.metrics["accuracy@0.5"] == pytest.approx(100 * 2 / 6)
    assert scores.metrics["mean_iou"] == pytest.approx(100 * (1 + 0.5 + 21 / 40) / 6, abs=1e-4)
    assert scores.counts["answers without a box"] == 1


def test_refer_clips_the_truth_to_the_image():
    outside = record("refer", boxes=[[0.5, 0.5, 1.5, 1.0]], phrase="the plane")
    assert metrics.refer([outside], ["{<50><50><100><100>}"]).metrics["mean_iou"] == pytest.approx(100)


def test_phrase_grounding_arithmetic():
    two = record("detection", boxes=[[0.1, 0.1, 0.3, 0.3], [0.6, 0.6, 0.8, 0.8]], phrase="the planes")
    one = record("detection", boxes=[[0.1, 0.1, 0.3, 0.3]], phrase="the ship")
    answers = [
        "<p>the planes</p> {<60><60><80><80>}<delim>{<10><10><30><30>}<delim>{<0><0><9><9>}",  # two right, one too many
        "<p>the ship</p> {<50><50><60><60>}",  # wrong
    ]
    scores = metrics.phrase_grounding([two, one], answers)
    assert scores.metrics["precision@0.5"] == pytest.approx(100 * 2 / 4)
    assert scores.metrics["recall@0.5"] == pytest.approx(100 * 2 / 3)
    assert scores.metrics["f1@0.5"] == pytest.approx(100 * 2 * 2 / 7)
    assert scores.metrics["all_boxes_right"] == 0
    empty = metrics.phrase_grounding([two, one], ["", ""])
    assert empty.metrics == {"precision@0.5": 0, "recall@0.5": 0, "f1@0.5": 0, "all_boxes_right": 0}


def test_matching_is_the_best_one_not_the_first():
    # the first found box fits both truths, the second only the first truth: greedy in order would find one pair
    truths = [Box(0.0, 0.0, 0.4, 1.0), Box(0.1, 0.0, 0.5, 1.0)]
    found = [Box(0.05, 0.0, 0.45, 1.0), Box(0.0, 0.0, 0.35, 1.0)]
    assert metrics.matched_boxes(found, truths) == 2
    assert metrics.matched_boxes(found[:1] * 2, truths[:1]) == 1  # a repeated box is used once


@given(st.permutations(range(5)))
def test_phrase_grounding_does_not_depend_on_the_order_of_boxes(order):
    boxes = [Box(0.1 * i, 0.1 * i, 0.1 * i + 0.3, 0.1 * i + 0.3) for i in range(5)]
    item = record("detection", boxes=[list(box) for box in boxes], phrase="planes")
    scores = metrics.phrase_grounding([item], [format_boxes([boxes[i] for i in order])])
    assert scores.metrics["all_boxes_right"] == 100


CLASSES = ["DenseResidential", "Residential", "BaseballField", "storage tanks", "Pond"]


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("Pond", ["Pond"]),
        ("it is a baseball field.", ["BaseballField"]),
        ("baseballfield", ["BaseballField"]),
        ("dense residential", ["DenseResidential"]),
        ("residential", ["Residential"]),
        ("dense residential, and residential", ["DenseResidential", "Residential"]),
        ("Storage Tanks", ["storage tanks"]),
        ("ponderous", []),
        ("", []),
    ],
)
def test_classes_named(answer, named):
    assert metrics.classes_named(answer, CLASSES) == named


def test_classification_counts_only_the_one_class_named():
    records = [record("classification", answer=x, classes=CLASSES) for x in ("Pond", "Pond", "BaseballField", "Pond")]
    scores = metrics.classification(records, ["a pond", "pond or baseball field", "baseball field", "sea"])
    assert scores.metrics["accuracy"] == 50
    assert scores.metrics["accuracy/Pond"] == pytest.approx(100 / 3)
    assert scores.metrics["accuracy/BaseballField"] == 100
    assert scores.counts["answers that name several"] == 1
    assert scores.counts["answers that name no class"] == 1


def test_identify_has_exact_match_and_caption_metrics():
    records = [
        record("identify", f"{i}.png", captions=[t]) for i, t in enumerate(["a red plane", "the ship", "a tank"])
    ]
    scores = metrics.identify(records, ["red plane", "a ship", "a blue tank"])
    assert scores.metrics["exact_match"] == pytest.approx(100 * 2 / 3)
    assert {"BLEU-1", "ROUGE_L", "CIDEr"} <= set(scores.metrics)


def test_shuffled_captions_score_less_than_right_ones():
    texts = ["a red plane stands here", "two ships in the harbour", "green forest with a road"]
    records = [record("caption", f"{i}.png", captions=[text] * 5) for i, text in enumerate(texts)]
    right = metrics.captions(records, texts).metrics
    shuffled = metrics.captions(records, texts[1:] + texts[:1]).metrics
    assert right["BLEU-1"] == pytest.approx(100, abs=1e-4)
    assert all(shuffled[name] < right[name] / 2 for name in right)
    assert captions_module.FALLBACK_NOTE in metrics.captions(records, texts).notes


def test_boxes_written_by_the_model_code_are_read_back():
    item = record("refer", boxes=[[0.25, 0.19, 0.9, 0.92]], phrase="x")
    assert metrics.refer([item], [format_box(Box(0.25, 0.19, 0.9, 0.92))]).metrics["accuracy@0.5"] == 100
