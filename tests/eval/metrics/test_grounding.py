from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skyeye.data.geometry.box_text import SKYEYE
from skyeye.data.geometry.boxes import Box
from skyeye.data.record import Record, Region, Turn
from skyeye.errors import SkyEyeError
from skyeye.eval import metrics
from skyeye.eval.answers.boxes import in_notation, read_boxes
from skyeye.eval.results import Answer


def record(image: str = "a.png", regions: tuple[Region, ...] = (), **references) -> Record:
    return Record("id", "test", "refer", "test", (image,), (Turn("[refer] x", ""),), references, regions)


def refer(records, texts):
    return metrics.refer(records, read_boxes(records, [Answer(text) for text in texts], in_notation(None)))


def phrase_grounding(records, texts):
    return metrics.phrase_grounding(records, read_boxes(records, [Answer(text) for text in texts], in_notation(None)))


BOXED = record(boxes=[[0.2, 0.2, 0.6, 0.6]], phrase="the plane")
ANSWERS = [
    "{<20><20><60><60>}",  # IoU 1
    "it is {<20><20><60><40>}",  # half of it: exactly 0.5, which is not above 0.5
    "{<20><20><60><41>}",  # 21/40
    "{<60><60><90><90>}",  # beside it
    "nowhere",
    "{<0><0><1><1>} {<20><20><60><60>}",  # the first box counts
]


def test_refer_arithmetic():
    scores = refer([BOXED] * 6, ANSWERS)
    assert [item["correct"] for item in scores.items] == [True, False, True, False, False, False]
    assert [item["iou"] for item in scores.items] == [1, 0.5, 0.525, 0, 0, 0]
    assert scores.metrics["accuracy@0.5"] == pytest.approx(100 * 2 / 6)
    assert scores.metrics["mean_iou"] == pytest.approx(100 * (1 + 0.5 + 21 / 40) / 6, abs=1e-4)
    # intersections 0.16, 0.08, 0.084, 0, 0, 0; unions 0.16 but for the boxes beside it: 0.25 and 0.1601
    intersections, unions = 0.16 + 0.08 + 0.084, 4 * 0.16 + (0.16 + 0.09) + (0.16 + 0.0001)
    assert scores.metrics["cumulative_iou"] == pytest.approx(100 * intersections / unions)
    assert scores.counts["answers without a box"] == 1


def test_thresholds_are_strict():
    # 0.4 x 0.4 against 0.4 x (0.4 n / 10): IoU n / 10
    answers = [SKYEYE.write(Box(0.2, 0.2, 0.6, 0.2 + 0.4 * n / 10 + 1e-9)) for n in (5, 10)]
    answers += ["{<20><20><60><45>}", "{<20><20><60><55>}"]  # 0.625, 0.875
    scores = refer([BOXED] * 4, answers)
    assert [scores.metrics[f"accuracy@{t}"] for t in (0.5, 0.6, 0.7, 0.8, 0.9)] == [75, 75, 50, 50, 25]
    assert refer([BOXED], ["{<20><20><60><48>}"]).metrics["accuracy@0.7"] == 0  # 28/40 is 0.7, not above it


def test_perfect_empty_and_shuffled():
    truths = [Box(0.1, 0.1, 0.3, 0.4), Box(0.4, 0.4, 0.6, 0.7), Box(0.7, 0.6, 0.95, 0.95)]
    records = [record(boxes=[list(box)], phrase="x") for box in truths]
    answers = [SKYEYE.write(Box(*box)) for box in truths]
    perfect, empty = refer(records, answers), refer(records, [""] * 3)
    shuffled = refer(records, answers[1:] + answers[:1])
    for name in ("accuracy@0.5", "accuracy@0.9", "mean_iou", "cumulative_iou"):
        assert perfect.metrics[name] == pytest.approx(100, abs=1e-6)
        assert empty.metrics[name] == shuffled.metrics[name] == 0


def test_the_best_of_several_truths_counts():
    two = record(boxes=[[0.1, 0.1, 0.2, 0.2], [0.2, 0.2, 0.6, 0.6]], phrase="a plane")
    assert refer([two], ["{<20><20><60><60>}"]).metrics["cumulative_iou"] == pytest.approx(100)


def test_refer_clips_the_truth_to_the_image():
    outside = record(boxes=[[0.5, 0.5, 1.5, 1.0]], phrase="the plane")
    assert refer([outside], ["{<50><50><100><100>}"]).metrics["mean_iou"] == pytest.approx(100)


def test_boxes_written_by_the_model_code_are_read_back():
    item = record(boxes=[[0.25, 0.19, 0.9, 0.92]], phrase="x")
    assert refer([item], [SKYEYE.write(Box(0.25, 0.19, 0.9, 0.92))]).metrics["accuracy@0.5"] == 100


def test_plus_one_counts_border_pixels():
    # 10 x 10 pixels of an image of 100: 0..10 against 0..5 is 11 x 6 of 11 x 11 pixels with the border, 0.5 without
    sized = record(boxes=[[0.0, 0.0, 0.1, 0.1]], phrase="x", size=(100, 100))
    scores = refer([sized], ["{<0><0><10><5>}"])
    assert scores.metrics["accuracy@0.5"] == 0
    assert scores.metrics["accuracy@0.5 (+1)"] == 100
    # ten times as many pixels: 101 x 51 of 101 x 101 is still above 0.5; 0..4 of 0..10 is not
    sized = record(boxes=[[0.0, 0.0, 0.1, 0.1]], phrase="x", size=(1000, 1000))
    assert refer([sized] * 2, ["{<0><0><10><5>}", "{<0><0><10><4>}"]).metrics["accuracy@0.5 (+1)"] == 50


def test_plus_one_takes_the_size_from_the_image_or_is_skipped(tmp_path):
    Image.new("RGB", (1000, 10)).save(tmp_path / "a.png")
    there = record(str(tmp_path / "a.png"), boxes=[[0.0, 0.0, 0.1, 0.5]], phrase="x")
    # 100 x 5 pixels, of which 100 x 2.4 are found: 3.4 of 6 rows with the border; of 500 rows 240 would not be enough
    answer = "{<0><0><10><24>}"
    scores = refer([there], [answer])
    assert scores.metrics["accuracy@0.5 (+1)"] == 100 and scores.metrics["accuracy@0.5"] == 0
    assert scores.notes == []
    missing = record(str(tmp_path / "b.png"), boxes=[[0.0, 0.0, 0.1, 0.2]], phrase="x")
    absent = record("absent:c.png", boxes=[[0.0, 0.0, 0.1, 0.2]], phrase="x")
    scores = refer([there, missing, absent], [answer] * 3)
    assert "accuracy@0.5 (+1)" not in scores.metrics
    assert "2 of 3 records" in scores.notes[0]


def test_plus_one_does_not_cut_the_truth():
    # the truth goes on for as much again outside the image: 11 x 11 pixels of it are found, of 21 x 11
    sized = record(boxes=[[0.9, 0.0, 1.1, 0.1]], phrase="x", size=(100, 100))
    scores = refer([sized], ["{<90><0><100><10>}"])
    assert scores.metrics["accuracy@0.5"] == 100
    assert scores.metrics["accuracy@0.5 (+1)"] == pytest.approx(100 * (11 / 21 > 0.5))
    # of 22 x 11 they are not more than half
    sized = record(boxes=[[0.9, 0.0, 1.11, 0.1]], phrase="x", size=(100, 100))
    assert refer([sized], ["{<90><0><100><10>}"]).metrics["accuracy@0.5 (+1)"] == 0


DIAMOND = [0.5, 0.3, 0.7, 0.5, 0.5, 0.7, 0.3, 0.5]


def test_oriented_truth():
    turned = record(boxes=[[0.3, 0.3, 0.7, 0.7]], polygons=[DIAMOND], phrase="x", size=(100, 100))
    plain = record(boxes=[[0.3, 0.3, 0.7, 0.7]], phrase="x", size=(100, 100))
    # the diamond is half of the upright box around it
    scores = refer([turned, turned, plain], ["{<30><30><70><70>}", "{<36><36><64><64>|<45>}", "{<30><30><70><70>}"])
    assert scores.metrics["oriented_accuracy@0.5"] == 50
    # side 0.28 against 0.4 / sqrt 2 = 0.2828: 0.0784 / 0.08
    assert scores.metrics["oriented_mean_iou"] == pytest.approx(100 * (0.5 + 0.98) / 2)
    assert [item.get("oriented_iou") for item in scores.items] == [0.5, 0.98, None]
    assert scores.items[0]["polygons"] == [DIAMOND]
    assert scores.counts["records with a true polygon"] == 2
    assert scores.counts["answers with an angle"] == 1
    assert scores.counts["true polygons whose corners cross"] == 0
    # the upright box around the answer's diamond: 0.28 sqrt 2 = 0.396 of 0.4
    assert scores.items[1]["iou"] == pytest.approx(0.98, abs=1e-4)


def test_oriented_truth_with_crossing_corners_is_counted():
    crossed = [0.3, 0.3, 0.7, 0.7, 0.7, 0.3, 0.3, 0.7]
    item = record(boxes=[[0.3, 0.3, 0.7, 0.7]], polygons=[crossed], phrase="x")
    scores = refer([item], ["{<30><30><70><70>|<0>}"])
    assert scores.metrics["oriented_mean_iou"] == pytest.approx(100)
    assert scores.counts["true polygons whose corners cross"] == 1
    assert any("taken for a square" in note for note in scores.notes)


def test_corners_of_other_systems_are_scored_as_written_and_need_no_size():
    truth = record(boxes=[[0.3, 0.3, 0.7, 0.7]], polygons=[DIAMOND], phrase="x")
    corners = "".join(f"<{100 * value:.1f}>" for value in DIAMOND)
    scores = refer([truth], [f"{{{corners}}}"])
    assert scores.metrics["oriented_mean_iou"] == pytest.approx(100)
    assert scores.metrics["accuracy@0.9"] == 100
    assert not any("taken for a square" in note for note in scores.notes)


def test_without_polygons_there_is_no_oriented_metric():
    assert not [name for name in refer([BOXED], [""]).metrics if name.startswith("oriented")]


def test_any_object_tells_pointing_from_listening():
    regions = (Region((0.0, 0.0, 1.0, 1.0), "ground"), Region((0.2, 0.2, 0.6, 0.6), "a"), Region((0.7, 0.7, 1, 1), "b"))
    item = record(regions=regions, boxes=[[0.2, 0.2, 0.6, 0.6]], phrase="a")
    scores = refer([item] * 3, ["{<70><70><100><100>}", "{<0><0><100><100>}", "{<20><20><60><60>}"])
    assert scores.metrics["any_object@0.5"] == pytest.approx(100 * 2 / 3)
    assert scores.metrics["accuracy@0.5"] == pytest.approx(100 / 3)


def test_accuracy_by_type():
    kinds = [record(boxes=[[0.2, 0.2, 0.6, 0.6]], phrase="x", type=kind) for kind in ("colour", "colour", "size")]
    scores = refer(kinds, ["{<20><20><60><60>}", "", ""])
    assert (scores.metrics["accuracy@0.5/colour"], scores.metrics["accuracy@0.5/size"]) == (50, 0)
    assert (scores.counts["colour"], scores.counts["size"]) == (2, 1)


def test_nothing_to_score_is_none_not_zero():
    assert set(refer([], []).metrics.values()) == {None}
    assert set(phrase_grounding([], []).metrics.values()) == {None}


TWO = record(boxes=[[0.1, 0.1, 0.3, 0.3], [0.6, 0.6, 0.8, 0.8]], phrase="the planes")
ONE = record(boxes=[[0.1, 0.1, 0.3, 0.3]], phrase="the ship")


def test_phrase_grounding_arithmetic():
    answers = [
        "<p>the planes</p> {<60><60><80><80>}<delim>{<10><10><30><30>}<delim>{<0><0><9><9>}",  # two right, one too many
        "<p>the ship</p> {<50><50><60><60>}",  # wrong
    ]
    scores = phrase_grounding([TWO, ONE], answers)
    assert scores.metrics["precision@0.5"] == pytest.approx(100 * 2 / 4)
    assert scores.metrics["recall@0.5"] == pytest.approx(100 * 2 / 3)
    assert scores.metrics["f1@0.5"] == pytest.approx(100 * 2 * 2 / 7)
    assert scores.metrics["all_boxes_right"] == 0
    assert scores.counts == {"true boxes": 3, "found boxes": 4, "answers without a box": 0}
    empty = phrase_grounding([TWO, ONE], ["", ""])
    assert empty.metrics == {"precision@0.5": 0, "recall@0.5": 0, "f1@0.5": 0, "all_boxes_right": 0}


def test_phrase_grounding_reads_turned_boxes():
    scores = phrase_grounding([ONE], ["{<10><10><30><30>|<90>}"])
    assert scores.metrics["f1@0.5"] == 100


@given(st.permutations(range(5)))
def test_phrase_grounding_does_not_depend_on_the_order_of_boxes(order):
    boxes = [Box(0.1 * i, 0.1 * i, 0.1 * i + 0.3, 0.1 * i + 0.3) for i in range(5)]
    item = record(boxes=[list(box) for box in boxes], phrase="planes")
    scores = phrase_grounding([item], [SKYEYE.write_list(Box(*boxes[i]) for i in order)])
    assert scores.metrics["all_boxes_right"] == 100


def test_boxes_are_scored_whatever_the_text_says():
    """A detector has no words; None is no box."""
    right = Answer("", (Box(0.2, 0.2, 0.6, 0.6),))
    scores = metrics.refer([BOXED] * 3, [right, Answer("{<20><20><60><60>}", ()), Answer()])
    assert [item["correct"] for item in scores.items] == [True, False, False]
    assert scores.counts["answers without a box"] == 2


def test_text_whose_boxes_nobody_has_read_is_an_error():
    for metric in (metrics.refer, metrics.phrase_grounding):
        with pytest.raises(SkyEyeError, match="were not read"):
            metric([BOXED], [Answer("{<20><20><60><60>}")])


def test_another_systems_marks_are_no_angle():
    """Qwen's box marks hold the same stroke as an angle in GeoChat's form; corners need no size of the image."""
    truth = record("absent:a.png", boxes=[[0.3, 0.3, 0.7, 0.7]], polygons=[DIAMOND], phrase="x")
    text = "<|box_start|>(500,300),(700,500),(500,700),(300,500)<|box_end|>"
    read = read_boxes([truth], [Answer(text)], in_notation("qwen"))
    scores = metrics.refer([truth], read)
    assert scores.metrics["oriented_mean_iou"] == pytest.approx(100)
    assert not any("taken for a square" in note for note in scores.notes)
