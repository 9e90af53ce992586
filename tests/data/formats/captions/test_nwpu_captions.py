import json

import pytest

from skyeye.errors import SkyEyeError


def entry(name, split, **more):
    return {"filename": name, "split": split, "imgid": 1, "raw": "A plane .", "raw_1": "One", **more}


def write(folder, content):
    (folder / "dataset_nwpu.json").write_text(json.dumps(content))
    return folder / "dataset_nwpu.json"


def test_captions_of_each_class(tmp_path, write_images, read):
    write_images(tmp_path, "NWPU_images/airplane/airplane_001.jpg", "NWPU_images/beach/beach_001.jpg")
    more = {"raw_10": "Ten", "raw_2": "Two"}
    content = {"airplane": [entry("airplane_001.jpg", "train", **more)], "beach": [entry("beach_001.jpg", "test")]}
    records, skipped = read("nwpu_captions", write(tmp_path, content))
    assert not skipped
    assert [(r.id, r.split, r.turns[0].answer) for r in records] == [
        ("airplane:0:0", "train", "a plane"),
        ("airplane:0:1", "train", "one"),
        ("airplane:0:2", "train", "two"),
        ("airplane:0:3", "train", "ten"),
        ("beach_001.jpg", "test", "a plane"),
    ]
    assert records[-1].references["captions"] == ["A plane .", "One"]
    assert records[-1].images[0].endswith("NWPU_images/beach/beach_001.jpg")
    assert {(r.source, r.task) for r in records} == {("NWPU-Captions", "caption")}


def test_what_does_not_fit_is_told(tmp_path, write_images, items):
    write_images(tmp_path, "1.jpg")
    bad = [
        entry("1.jpg", "trian"),
        {"split": "train"},
        3,
        {"filename": "1.jpg", "split": "val"},
        entry("9.jpg", "train"),
    ]
    bad += [entry("1.jpg", "train", raw_1=[])]
    records, skipped = items("nwpu_captions", write(tmp_path, {"a": bad, "b": "none"}))
    assert len(records) == 1
    assert skipped == {"unknown split": 1, "not a record": 3, "no answer": 2, "missing image": 2}


def test_a_file_of_another_format(tmp_path, read):
    with pytest.raises(SkyEyeError, match="has no list of images per class"):
        read("nwpu_captions", write(tmp_path, {"a": 3}))
