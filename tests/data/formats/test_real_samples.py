"""Readers on small pieces of the published data sets. Expected counts are those of the data sets' description, or
counted here from the raw lines without the readers."""

import json
from collections import Counter
from pathlib import Path

import pytest

from skyeye.curate.detect.folder import detect_formats
from skyeye.data.prompts import MiniGPTv2
from skyeye.data.record import Record

RSICD = "AID_RSICD/dataset_rsicd_subset_DERIVED.json"


def counts(records: list[Record]) -> Counter:
    assert len({(r.source, r.id) for r in records}) == len(records)
    assert all(Path(image).is_file() for r in records for image in r.images)
    assert all(r.turns[0].question.startswith(MiniGPTv2.tags.get(r.task, "")) and r.turns[0].answer for r in records)
    return Counter((r.split, r.task) for r in records)


def lines(*files: Path) -> list[str]:
    return [line for file in files for line in file.read_text().splitlines() if line.strip()]


def touched(folder: Path, names: set[str]) -> Path:
    """Readers look for image files and do not open them: annotations without images are read in full this way."""
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


def test_rsicd_captions(real, read):
    records, skipped = read("karpathy", real / RSICD)
    assert not skipped
    assert counts(records) == {("train", "caption"): 5 * 1680, ("val", "caption"): 240, ("test", "caption"): 480}
    assert {len(r.references["captions"]) for r in records} == {5}


@pytest.mark.parametrize(
    ("file", "images", "train"),
    [("UCM_captions/dataset.json", 2100, 1680), ("Sydney_captions/dataset_sydney_modified.json", 613, 497)],
)
def test_captions_of_which_six_images_are_there(real, read, file, images, train, tmp_path):
    records, skipped = read("karpathy", real / file)
    assert counts(records) == {("train", "caption"): 30}
    assert skipped == {"missing image": images - 6}
    records, skipped = read(
        "karpathy", real / file, touched(tmp_path / "i", {f"{n}.tif" for n in range(1, images + 1)})
    )
    assert not skipped
    assert Counter(r.split for r in records) == {
        "train": 5 * train,
        "val": (images - train) / 2,
        "test": (images - train) / 2,
    }


def test_aid_classes_with_the_split_of_the_captions(real, read):
    records, skipped = read("class_folders", real / "AID_RSICD/images", split_file=str(real / RSICD))
    assert not skipped
    assert counts(records) == {
        ("train", "classification"): 1680,
        ("val", "classification"): 240,
        ("test", "classification"): 480,
    }
    per_class = Counter(r.turns[0].answer for r in records)
    assert len(per_class) == 30 and set(per_class.values()) == {80}
    assert {"Storage Tanks", "Bare Land", "Pond"} <= set(per_class)
    by_image = {r.images[0]: r.split for r in records}
    captions, _ = read("karpathy", real / RSICD)
    assert all(by_image[r.images[0]] == r.split for r in captions)


@pytest.mark.parametrize(
    ("folder", "questions", "types"),
    [
        ("RSVQA_LR", (2504, 500, 501), {"comparison": 975, "presence": 753, "count": 751, "rural_urban": 25}),
        ("RSVQA_HR", (2501, 500, 500), {"comparison": 843, "presence": 642, "count": 663, "area": 353}),
    ],
)
def test_rsvqa(real, read, folder, questions, types):
    records, skipped = read("rsvqa", real / folder)
    assert not skipped
    assert counts(records) == dict(zip([(s, "vqa") for s in ("train", "val", "test")], questions, strict=True))
    assert Counter(r.references["type"] for r in records if r.split == "train") == types
    images = {s: {r.images[0] for r in records if r.split == s} for s in ("train", "val", "test")}
    assert [len(images[s]) for s in ("train", "val", "test")] == [25, 5, 5]
    assert len(set.union(*images.values())) == 35


def test_rsicd_theme_questions(real, read):
    records, skipped = read("rsivqa", real / "AID_RSICD/rsicd_vqa.txt", split_file=str(real / RSICD))
    assert not skipped
    assert counts(records) == {("train", "vqa"): 1680, ("val", "vqa"): 240, ("test", "vqa"): 480}
    assert {r.references["type"] for r in records} == {"theme"}


@pytest.mark.parametrize("folder", ["DOTA", "UCM", "Sydney"])
def test_rsivqa_in_full(real, read, folder, tmp_path):
    """Every line is a record or is reported; lines that are reported are few."""
    folder = real / "annotations_only/RSIVQA" / folder
    files = sorted(folder.glob("*.txt"))
    raw = lines(*files)
    names = {line.split(":")[0].strip() for line in raw}
    images = touched(tmp_path / "i", {name if "." in name else f"{name}.png" for name in names})
    read_ones, left = 0, Counter()
    for file in files:
        records, skipped = read("rsivqa", file, images)
        read_ones, left = read_ones + len(records), left + skipped
    assert read_ones + sum(left.values()) == len(raw)
    assert sum(left.values()) <= 0.001 * len(raw)


@pytest.mark.parametrize(
    ("format", "folder", "labels", "headers"),
    [("dota", "DOTA", "labelTxt", 2), ("yolo", "DOTA8", "labels", 0), ("yolo", "aerial_cars", ".", 0)],
)
def test_every_box_is_asked_about_or_reported(real, read, format, folder, labels, headers):
    files = [f for f in sorted((real / folder / labels).glob("*.txt"))]
    boxes = len(lines(*files)) - headers * len(files)
    records, skipped = read(format, real / folder)
    assert set(skipped) <= {"too small", "difficult", "box outside the image"}
    assert counts(records)["train", "identify"] + sum(skipped.values()) == boxes
    assert {r.task for r in records} <= {"refer", "identify", "detection"}
    assert any(r.task == "refer" for r in records)


@pytest.mark.parametrize(
    ("file", "images", "boxes"),
    [("HRRSD/hrrsd_val_coco.json", 4352, 11535), ("NWPU_VHR10/annotations_coco.json", 650, 3921)],
)
def test_coco(real, read, file, images, boxes, tmp_path):
    path = real / "annotations_only" / file
    names = {image["file_name"] for image in json.loads(path.read_text())["images"]}
    assert len(names) == images
    records, skipped = read("coco", path, touched(tmp_path / "i", names))
    assert set(skipped) == {"too small"}
    assert sum(r.task == "identify" for r in records) + skipped["too small"] == boxes


ANNOTATIONS = {
    # units of the raw files: images x captions for training, images for evaluation, lines, objects
    "RSITMD": {"rsitmd": 4291 * 5 + 452},
    "CapERA": {"capera": 1473 * 5},
    "RSVG_HR": {"rsvg": 2151},
    "DIOR_RSVG": {"dior_rsvg": 26991 + 3829 + 7500},
}


@pytest.mark.parametrize("folder", sorted(ANNOTATIONS))
def test_annotations_without_images_are_counted(real, items, folder):
    found = {}
    for _, source in detect_formats(real / "annotations_only" / folder).sources:
        records, skipped = items(source.format, source.path)
        assert not records and skipped["missing image"]
        found[source.format] = sum(skipped.values())
    assert found == ANNOTATIONS[folder]


def test_rsitmd(real, read, tmp_path):
    folder = real / "annotations_only/RSITMD"
    names = {line for split in ("train", "test") for line in lines(folder / f"{split}_filename.txt")}
    records, skipped = read("rsitmd", folder, touched(tmp_path / "i", names))
    assert skipped == {"no answer": 20}  # blank lines among the training captions
    assert counts(records) == {("train", "caption"): 21455 - 20, ("test", "caption"): 452}
    assert {len(r.references["captions"]) for r in records if r.split == "test"} == {5}


def test_capera(real, read, tmp_path):
    path = real / "annotations_only/CapERA/CapERA_DATASET_train.json"
    names = {video["video_id"].replace(".mp4", ".jpg") for video in json.loads(path.read_text())["ERA_caption"]}
    records, skipped = read("capera", path, touched(tmp_path / "i", names))
    assert not skipped
    assert counts(records) == {("train", "video_caption"): 5 * 1473}


def test_rsvg_hr(real, read, write_images, tmp_path):
    path = real / "annotations_only/RSVG_HR/rsvg_hr_train.txt"
    write_images(tmp_path, *{line.split(",")[0] for line in lines(path)}, size=(1024, 1024))
    records, skipped = read("rsvg", path, tmp_path)
    assert skipped == {"malformed line": 1, "inverted box": 1}  # a decimal comma; x1 = 556.5, x2 = 511.1
    assert counts(records) == {("train", "refer"): 2149}
    assert not any("find " in r.references["phrase"][:7] for r in records)


def test_dior_rsvg(real, items, written, write_images, tmp_path):
    write_images(tmp_path, "00001.jpg", size=(800, 800))
    (record,), skipped = items("dior_rsvg", real / "annotations_only/DIOR_RSVG", tmp_path)
    record = written(record)
    assert (record.id, record.split) == ("0", "test")  # the first line of test.txt is 0
    assert record.turns[0].question == "[refer] where can I locate a green and brown golf field?"
    assert record.turns[0].answer == "{<16><29><85><84>}"  # 133 237 684 672 of 800
    assert skipped == {"no annotation": 26991 + 3829 + 7500 - 1}


def test_nwpu_vhr10(real, read, write_images, tmp_path):
    folder = real / "annotations_only/NWPU_VHR10"
    files = sorted((folder / "groundtruth").glob("*.txt"))
    boxes = lines(*files)
    assert (len(files), len(boxes)) == (650, 3896)
    write_images(tmp_path, *(f"{file.stem}.jpg" for file in files), size=(1200, 1200))
    records, skipped = read("nwpu_vhr10", folder, tmp_path)
    assert set(skipped) <= {"too small", "box outside the image"}  # the true sizes differ from picture to picture
    assert sum(r.task == "identify" for r in records) + sum(skipped.values()) == 3896
    ships = sum(line.strip().endswith(",2") for line in boxes)
    assert 0 < sum(r.task == "identify" and r.turns[0].answer == "a ship" for r in records) <= ships


RECOGNISED = {
    "AID_RSICD": ["class_folders", "karpathy", "rsivqa"],
    "DOTA": ["dota", "rsivqa"],
    "DOTA8": ["yolo"],
    "RSICD_original": [],
    "RSVQA_HR": ["rsvqa"],
    "RSVQA_LR": ["rsvqa"],
    "Sydney_captions": ["karpathy"],
    "UCM_captions": ["karpathy"],
    "aerial_cars": ["yolo"],
    "annotations_only/CapERA": ["capera"],
    "annotations_only/DIOR_RSVG": ["dior_rsvg"],
    "annotations_only/HRRSD": ["coco"],
    "annotations_only/NWPU_VHR10": ["coco", "nwpu_vhr10"],
    "annotations_only/RSITMD": ["rsitmd"],
    "annotations_only/RSIVQA": ["rsivqa", "rsivqa", "rsivqa"],
    "annotations_only/RSVG_HR": ["rsvg"],
}


@pytest.mark.parametrize("folder", sorted(RECOGNISED))
def test_every_folder_is_recognised(real, items, folder):
    found = [source for _, source in detect_formats(real / folder).sources]
    assert sorted(source.format for source in found) == RECOGNISED[folder]
    assert all(source.images is None for source in found)
    splits = [source.options for source in found if source.options]
    assert splits == ([{"split_file": str(real / RSICD)}] * 2 if folder == "AID_RSICD" else [])


def test_the_whole_folder_is_recognised(real):
    formats = Counter(source.format for _, source in detect_formats(real).sources)
    assert formats == sum(map(Counter, RECOGNISED.values()), Counter())


def test_frames_of_one_video_stay_together(real, read):
    records, _ = read("yolo", real / "aerial_cars", splits={"test": ["MunichStreet02*"]})
    assert len({r.images[0] for r in records if r.split == "test"}) == 20
    assert all("Munich" in r.images[0] for r in records if r.split == "test")
    assert all("DJI" in r.images[0] for r in records if r.split == "train")
