"""Mean average precision: equal to pycocotools on upright boxes, and by arithmetic where the rule is simple."""

import contextlib
import io

import numpy as np
import pytest

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import Record, Turn
from skyeye.eval.metrics.detection import (
    COCO_THRESHOLDS,
    ClassBoxes,
    average_precision,
    detection,
    upright_overlaps,
)
from skyeye.eval.results import Answer


def boxes_of(rng, count):
    corners = rng.uniform(0, 0.8, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(0.02, 0.2, (count, 2))], axis=1)


def near(rng, boxes):
    """Each box moved a little, some left out, some made up; with scores that no two share."""
    kept = boxes[rng.random(len(boxes)) < 0.8]
    moved = kept + rng.normal(0, 0.012, kept.shape)
    twice = moved[rng.random(len(moved)) < 0.3]
    found = np.concatenate([moved, twice, boxes_of(rng, rng.integers(0, 4))])
    return np.sort(found.reshape(-1, 2, 2), axis=1).reshape(-1, 4)


@pytest.mark.parametrize("seed", range(4))
def test_upright_boxes_as_pycocotools(seed):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(seed)
    images = [boxes_of(rng, n) for n in rng.integers(0, 12, 25)]
    said = [near(rng, boxes) for boxes in images]
    scores = [rng.permutation(1000)[: len(own)] / 1000 for own in said]
    ground = {"images": [{"id": n} for n in range(25)], "categories": [{"id": 1}], "annotations": []}
    found = []
    for image, (true, own, sure) in enumerate(zip(images, said, scores, strict=True)):
        for box in true * 1000:
            x1, y1, x2, y2 = box
            ground["annotations"].append(
                {"id": len(ground["annotations"]) + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            )  # fmt: skip
        for (x1, y1, x2, y2), score in zip(own * 1000, sure, strict=True):
            found.append({"image_id": image, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = ground
        coco.createIndex()
        theirs = COCOeval(coco, coco.loadRes(found), "bbox")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    ours = ClassBoxes(
        [
            upright_overlaps([Box(*b) for b in own], [Box(*b) for b in true])
            for own, true in zip(said, images, strict=True)
        ],
        scores,
        [np.zeros(len(true), bool) for true in images],
    )
    values = [average_precision(ours, "coco", t) for t in COCO_THRESHOLDS]
    assert np.mean(values) == pytest.approx(theirs.stats[0], abs=1e-12)
    assert values[0] == pytest.approx(theirs.stats[1], abs=1e-12) and values[5] == pytest.approx(
        theirs.stats[2], abs=1e-12
    )


def class_boxes(hits, objects, scores=None, difficult=0):
    """One image: for each box which object it finds (None: none), with an overlap of 0.9."""
    overlaps = np.zeros((len(hits), objects + difficult))
    for number, hit in enumerate(hits):
        if hit is not None:
            overlaps[number, hit] = 0.9
    marked = np.array([False] * objects + [True] * difficult, bool)
    return ClassBoxes([overlaps], [None if scores is None else np.array(scores, float)], [marked])


def test_the_eleven_points_of_voc_2007_and_dota():
    """Four objects; right, wrong, right, wrong: precision 1, 1/2, 2/3, 1/2 at recall 1/4, 1/4, 1/2, 1/2.

    At recalls 0, .1, .2 the best precision is 1; at .3, .4, .5 it is 2/3; beyond .5 nothing is found.
    """
    boxes = class_boxes([0, None, 1, None], 4, [0.9, 0.8, 0.7, 0.6])
    assert average_precision(boxes, "voc07") == pytest.approx((3 * 1 + 3 * 2 / 3) / 11)
    assert average_precision(boxes, "voc") == pytest.approx(1 / 4 * 1 + 1 / 4 * 2 / 3)
    # of 101 recalls 0 .. .25 are 26, .26 .. .50 are 25
    assert average_precision(boxes, "coco") == pytest.approx((26 * 1 + 25 * 2 / 3) / 101)


def test_what_is_found_twice_is_wrong_and_what_is_difficult_is_neither():
    twice = class_boxes([0, 0], 1, [0.9, 0.8])
    assert average_precision(twice, "voc") == 1  # the second comes after all objects are found
    assert average_precision(class_boxes([None, 0], 1, [0.9, 0.8]), "voc") == 1 / 2
    hard = class_boxes([1, 1, 0], 1, [0.9, 0.8, 0.7], difficult=1)
    assert [average_precision(hard, protocol) for protocol in ("voc07", "voc", "coco")] == [1, 1, 1]
    assert np.isnan(average_precision(class_boxes([0], 0, difficult=1), "voc"))


def test_by_voc_a_box_is_compared_with_the_object_it_overlaps_most_alone():
    """Two boxes on one object, the second also on another by 0.6: VOC takes 0.7 and finds it taken, COCO takes 0.6."""
    overlaps = np.array([[0.9, 0.0], [0.7, 0.6]])
    boxes = ClassBoxes([overlaps], [np.array([0.9, 0.8])], [np.zeros(2, bool)])
    assert average_precision(boxes, "voc") == 1 / 2 and average_precision(boxes, "coco") == 1


def test_an_overlap_of_exactly_the_threshold_is_a_hit_for_coco_alone():
    boxes = ClassBoxes([np.array([[0.5]])], [None], [np.zeros(1, bool)])
    assert average_precision(boxes, "voc") == 0 and average_precision(boxes, "coco") == 1


def test_without_scores_the_curve_is_one_point_whatever_the_order():
    """Six boxes, three of them right, four objects: precision 1/2 at recall 3/4."""
    for hits in ([0, 1, 2, None, None, None], [None, None, None, 2, 1, 0]):
        boxes = class_boxes(hits, 4)
        values = [average_precision(boxes, protocol) for protocol in ("voc", "voc07", "coco")]
        assert values == pytest.approx([3 / 8, 8 / 11 / 2, 76 / 101 / 2])


def record(image, name, boxes, difficult=(), turned=0.0):
    places = {"boxes": [list(b) for b in boxes]}
    corners = [list(OrientedBox.from_box(Box(*b))) for b in boxes]
    hard = {"boxes": [list(b) for b in difficult], "polygons": [list(OrientedBox.from_box(Box(*b))) for b in difficult]}
    references = {"class": name, "phrase": name, **places, "polygons": corners, "difficult": hard}
    return Record(f"{image}:{name}", "", "detection", "test", (image,), (Turn(name, ""),), references)


A, B, C = (0.1, 0.1, 0.3, 0.3), (0.5, 0.5, 0.7, 0.7), (0.1, 0.6, 0.3, 0.8)


def test_classes_are_averaged_and_absent_ones_punish_what_is_said_of_them():
    records = [
        record("a", "ship", [A, B]),
        record("a", "plane", []),
        record("b", "ship", []),
        record("b", "plane", [C]),
    ]
    perfect = [Answer("", tuple(Box(*b) for b in r.references["boxes"])) for r in records]
    scores = detection(records, perfect, protocol="voc")
    assert scores.metrics["mAP"] == scores.metrics["AP (COCO)"] == scores.metrics["mAP (VOC 2007)"] == 100
    assert scores.counts == {"plane": 1, "ship": 2, "true boxes": 3, "found boxes": 3}
    assert "all boxes of a class are alike" in scores.notes[0] and "upright boxes; mAP by voc" in scores.notes[0]
    anywhere = [Answer("", (Box(*A), Box(*B), Box(*C)))] * 4  # the same three boxes to everything
    # ships: 2 of 6 boxes right, all 2 found: 1/3; planes: 1 of 6, found: 1/6
    assert detection(records, anywhere, protocol="voc").metrics["mAP"] == pytest.approx(100 * (1 / 3 + 1 / 6) / 2)
    assert detection(records, [Answer()] * 4, protocol="voc").metrics["mAP"] == 0
    shuffled = [perfect[i] for i in (1, 0, 3, 2)]
    assert detection(records, shuffled, protocol="voc").metrics["mAP"] == 0


def test_certainty_orders_the_boxes_and_is_said():
    records = [record("a", "ship", [A])]
    said = (Box(*B), Box(*A))
    first = detection(records, [Answer("", said, scores=(0.2, 0.9))], protocol="voc")
    last = detection(records, [Answer("", said, scores=(0.9, 0.2))], protocol="voc")
    assert (first.metrics["mAP"], last.metrics["mAP"]) == (100, 50)
    assert "scores of boxes: token certainty" in first.notes[0]
    assert detection(records, [Answer("", said)], protocol="voc").metrics["mAP"] == 50


def test_scores_that_some_answers_lack_order_nothing_and_that_is_told():
    """Two right boxes of two objects and a wrong one: precision 2/3 at recall 1, whatever the scores of some say."""
    records = [record("a", "ship", [A]), record("b", "ship", [A])]
    answers = [Answer("", (Box(*B), Box(*A)), scores=(0.2, 0.9)), Answer("", (Box(*A),))]
    found = detection(records, answers, protocol="voc")
    assert found.metrics["mAP"] == pytest.approx(200 / 3)
    assert "alike" in found.notes[0] and found.notes[1].startswith("1 of 2 answers with boxes bring no score")


def test_oriented_boxes_are_compared_as_polygons():
    """A square turned by 45 degrees has half the area of the upright square around it."""
    square, diamond = Box(0.2, 0.2, 0.6, 0.6), OrientedBox(0.4, 0.2, 0.6, 0.4, 0.4, 0.6, 0.2, 0.4)
    truth = record("a", "ship", [tuple(square)])
    truth.references["polygons"] = [list(diamond)]
    assert detection([truth], [Answer("", (diamond,))], oriented=True).metrics["mAP"] == 100
    around = [Answer("", (square,))]
    assert detection([truth], around, oriented=True).metrics["mAP"] == 0  # 1/2 is not above 1/2
    assert detection([truth], around).metrics["mAP"] == 100
    assert "polygons" in detection([truth], around, oriented=True).notes[0]
