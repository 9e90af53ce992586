import shutil

import pytest

from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import BENCHMARKS
from skyeye.eval.results import Answer
from tests.eval.benchmarks.paper_sets import QUESTIONS


def rsvqa(folder, write, prefix):
    questions = [
        {"id": 70 + n, "img_id": 5, "type": kind, "question": question, "answers_ids": [n], "active": True}
        for n, (kind, question, _) in enumerate(QUESTIONS)
    ]
    answers = [{"id": n, "answer": answer, "active": True} for n, (_, _, answer) in enumerate(QUESTIONS)]
    for what, entries in {
        "questions": [*questions, {"id": 99, "active": False}],
        "answers": answers,
        "images": [{"id": 5, "active": True}],
    }.items():
        write(folder / f"{prefix}_{what}.json", {what: entries})


@pytest.mark.parametrize(
    ("name", "prefix", "images", "in_mean"),
    [
        ("rsvqa_lr", "LR_split_test", "Images_LR", 3),
        ("rsvqa_hr.test1", "USGS_split_test", "Data", 2),
        ("rsvqa_hr.test2", "USGS_split_test_phili", "Data", 2),
    ],
)
def test_rsvqa(tmp_path, write, write_images, load, name, prefix, images, in_mean):
    folder = tmp_path / "RSVQA"
    rsvqa(folder, write, prefix.replace("_test", "_train", 1).replace("_phili", ""))
    with pytest.raises(SkyEyeError, match=f"{prefix}_questions.json; of other splits there is .*_train_questions"):
        BENCHMARKS[name].load(tmp_path)
    rsvqa(folder, write, prefix)
    write_images(folder / images, "5.tif")
    split = prefix.split("_", 2)[2]
    for root in (tmp_path, folder):
        records = load(name, root)
        assert [record.id for record in records] == [f"{split}:{n}" for n in range(70, 75)]
        assert [record.turns[0].question for record in records] == [f"[vqa] {q}" for _, q, _ in QUESTIONS]
    metrics = BENCHMARKS[name].metric(records, [Answer("yes")] * 5).metrics
    assert metrics["accuracy"] == 100 * 2 / 5
    # count and area are scored but not in the mean; rural/urban is in that of LR only
    assert metrics["mean_over_types"] == pytest.approx(100 * 2 / in_mean)
    assert metrics["accuracy/count"] == metrics["accuracy/area"] == metrics["accuracy/rural_urban"] == 0
    shutil.rmtree(folder / images)
    assert {r.images for r in load(name, tmp_path, "keep")} == {("absent:5",)}


def test_images_of_the_other_set_are_not_taken(tmp_path, write, write_images):
    """Both sets number their images from 0."""
    rsvqa(tmp_path / "RSVQA_LR", write, "LR_split_test")
    rsvqa(tmp_path / "RSVQA_HR", write, "USGS_split_test")
    write_images(tmp_path / "RSVQA_HR/Data", "5.tif")
    write_images(tmp_path / "RSVQA_HR/Images", "5.tif")
    with pytest.raises(SkyEyeError, match="none of 5 records has its image"):
        BENCHMARKS["rsvqa_lr"].load(tmp_path)


def test_both_sets_in_one_folder(tmp_path, write, load):
    rsvqa(tmp_path, write, "LR_split_test")
    rsvqa(tmp_path, write, "USGS_split_test")
    for name, source in (("rsvqa_lr", "RSVQA-LR"), ("rsvqa_hr.test1", "RSVQA-HR")):
        assert [record.source for record in load(name, tmp_path, "keep")] == [source] * 5


def test_rsivqa_is_the_validation_part_of_dota(tmp_path, write, write_images, load, score):
    lines = "P1: how many ships are there in this picture?4\nP1: does this picture contain ship?yes\n"
    write(tmp_path / "RSIVQA/DOTA/dota_train_vqa2.txt", lines)
    write(tmp_path / "RSIVQA/UCM/ucm_vqa.txt", lines)
    with pytest.raises(SkyEyeError, match="dota_val_vqa.*; of other splits there is .*dota_train_vqa2.txt"):
        BENCHMARKS["rsivqa"].load(tmp_path)
    write(tmp_path / "RSIVQA/DOTA/dota_val_vqa2.txt", lines)
    write(tmp_path / "DOTA/dota_val_vqa2.txt", "P1: a copy?yes\n")  # that of RSIVQA comes first
    assert [r.id for r in load("rsivqa", tmp_path / "RSIVQA", "keep")] == ["dota_val_vqa2:1", "dota_val_vqa2:2"]
    write_images(tmp_path / "DOTA/val/images", "P1.png")
    records = load("rsivqa", tmp_path)
    assert [record.turns[0].answer for record in records] == ["4", "yes"]
    assert score("rsivqa", records, ["4", "no"]) == 50


def test_era_vqa(tmp_path, write, write_images, load, score):
    talk = [{"from": "human", "value": "<image>\nWhich event is this?"}, {"from": "gpt", "value": "fire"}]
    write(tmp_path / "SkyEye-968k/vqa/EARVqa.json", [{"image": "Fire_1.jpg", "conversations": talk}])
    with pytest.raises(
        SkyEyeError, match="EARVqa_test.json or ERAVqa_test.json; of other splits there is .*EARVqa.json"
    ):
        BENCHMARKS["era.vqa"].load(tmp_path)
    write(tmp_path / "SkyEye-968k/vqa/ERAVqa_test.json", [{"image": "Fire_1.jpg", "conversations": talk}] * 2)
    assert [r.id for r in load("era.vqa", tmp_path, "keep")] == ["ERAVqa_test:0", "ERAVqa_test:1"]
    write_images(tmp_path / "ERA/SingleFrames", "Test/Fire_1.jpg", "Tra/Fire_1.jpg")
    records = load("era.vqa", tmp_path)
    assert {r.turns[0].question for r in records} == {"[vqa] Which event is this?"}
    assert {r.images for r in records} == {(f"{tmp_path}/ERA/SingleFrames/Test/Fire_1.jpg",)}
    assert score("era.vqa", records, ["Fire", "Flood"]) == 50


@pytest.mark.parametrize(
    ("name", "folder", "records"), [("rsvqa_lr", "RSVQA_LR", 501), ("rsvqa_hr.test1", "RSVQA_HR", 500)]
)
def test_real_rsvqa(real, load, score, name, folder, records):
    for root in (real, real / folder):
        found = load(name, root)
        assert (len(found), len({record.images for record in found})) == (records, 5)
    assert score(name, found, [record.references["answer"] for record in found]) == pytest.approx(100)
    assert score(name, found, [""] * records) == 0


def test_real_rsivqa(real, load, score):
    """As many records as the published file has lines."""
    for root in (real, real / "annotations_only", real / "annotations_only/RSIVQA"):
        records = load("rsivqa", root, "keep")
        assert len(records) == 4041 == BENCHMARKS["rsivqa"].published.records
    assert score("rsivqa", records, [record.references["answer"] for record in records]) == pytest.approx(100)
