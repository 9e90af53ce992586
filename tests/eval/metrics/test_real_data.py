"""Answers made by rule to real test questions: the scores are those that arithmetic says."""

from __future__ import annotations

from pathlib import Path

import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems
from skyeye.data.geometry.box_text import GEOCHAT, SKYEYE
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.images.load import image_size
from skyeye.data.record import Record
from skyeye.eval import metrics
from skyeye.eval.answers.boxes import in_notation, read_boxes
from skyeye.eval.metrics.bootstrap import intervals
from skyeye.eval.results import Answer

DATA = Path(__file__).parents[3].parent / "shared" / "data"


def refer(records, texts):
    return metrics.refer(records, read_boxes(records, [Answer(text) for text in texts], in_notation(None)))


def vqa(records, texts, **options):
    return metrics.vqa(records, [Answer(text) for text in texts], **options)


def classification(records, texts, **options):
    return metrics.classification(records, [Answer(text) for text in texts], **options)


def read(name: str, kind: str, **options) -> list[Record]:
    if not (DATA / name).is_dir():
        pytest.skip(f"../shared/data/{name} is not there")
    records, _ = read_with_problems(SourceConfig(kind, str(DATA / name), options=options), name)
    assert records
    return records


def test_turned_boxes_of_dota8():
    records = [r for r in read("DOTA8", "yolo", min_side=0.02) if r.task == "refer"]
    answers = [
        GEOCHAT.write(OrientedBox(*record.references["polygons"][0]), image_size(record.images[0]))
        for record in records
    ]
    scores = refer(records, answers)
    assert scores.counts["answers with an angle"] == scores.counts["records with a true polygon"] == len(records)
    for name in ("oriented_accuracy@0.5", "accuracy@0.5", "accuracy@0.5 (+1)"):
        assert scores.metrics[name] == 100
    # whole hundredths and whole degrees: small objects cannot be named exactly; docs/metrics.md prints these numbers
    assert scores.metrics["oriented_mean_iou"] == pytest.approx(88.1, abs=0.05)
    upright = refer(records, [SKYEYE.write(Box(*record.references["boxes"][0])) for record in records]).metrics
    names = ("accuracy@0.5", "accuracy@0.9", "mean_iou")
    assert [upright[name] for name in names] == pytest.approx([100, 30.8, 86.5], abs=0.05)
    empty = refer(records, [""] * len(records))
    assert empty.metrics["oriented_accuracy@0.5"] == empty.metrics["cumulative_iou"] == 0


def test_questions_of_rsvqa_lr():
    records = [r for r in read("RSVQA_LR", "rsvqa") if r.split == "test"]
    truths = [record.references["answer"] for record in records]
    perfect, empty = vqa(records, truths), vqa(records, [""] * len(records))
    assert perfect.metrics["accuracy"] == perfect.metrics["mean_over_types"] == 100
    assert perfect.metrics["count_error"] == 0
    assert empty.metrics["accuracy"] == 0
    # moved on by one, an answer is right where two neighbours happen to have the same truth
    moved = vqa(records, truths[1:] + truths[:1])
    same = sum(a == b for a, b in zip(truths, truths[1:] + truths[:1], strict=True))
    assert moved.metrics["accuracy"] == pytest.approx(100 * same / len(records))
    low, high = intervals(moved, [record.images for record in records])["accuracy"]
    assert low < moved.metrics["accuracy"] < high


def test_scenes_of_aid():
    records = read("AID_RSICD/images", "class_folders", test_fraction=1.0)
    truths = [record.references["answer"] for record in records]
    assert classification(records, truths).metrics["accuracy (exact names)"] == 100
    off = classification(records, [f"{truth} or {truths[0]}" for truth in truths])
    assert off.metrics["accuracy"] == pytest.approx(100 * truths.count(truths[0]) / len(truths))
