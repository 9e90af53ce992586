import json

import pytest
from PIL import Image

from skyeye.curate.convert import convert
from skyeye.curate.objects import iter_annotated
from skyeye.curate.target import open_target
from skyeye.errors import SkyEyeError


def annotated(target) -> dict:
    pictures = [item for name, source in target.sources.items() for item in iter_annotated(source, name)]
    return {picture.image: picture for picture in pictures if hasattr(picture, "objects")}


@pytest.fixture
def own(tmp_path):
    """Two pictures with boxes of both kinds in two splits, and a question."""
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 20), "navy").save(tmp_path / "pictures" / name)
    first = [{"box": [10, 5, 33, 15.5], "label": "ship"}, {"box": [1, 2, 3, 4], "label": "car", "difficult": True}]
    second = [{"polygon": [10, 5, 20, 5, 20, 15, 10, 15], "label": "ship"}, {"box": [0, 0, 40, 20], "phrase": "a Kai"}]
    lines = [
        {"image": "a.png", "boxes": first, "unit": "pixels"},
        {"image": "b.png", "boxes": second, "unit": "pixels", "split": "test"},
        {"image": "a.png", "question": "how many?", "answer": "2"},
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return open_target(tmp_path / "own.jsonl", format="jsonl", images=tmp_path / "pictures")


def test_objects_are_written_in_pixels_and_what_has_no_place_is_counted(own, tmp_path):
    told = convert(own, tmp_path / "out", "coco")
    assert told.files == {"train.json": 2, "test.json": 2}
    assert told.lost == {"oriented boxes": 1, "phrases": 1, "words of a class": 1}
    assert told.skipped == {"not about a place": 1}
    train = json.loads((tmp_path / "out" / "train.json").read_text())
    assert train["images"] == [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}]
    assert [one["bbox"] for one in train["annotations"]] == [[10, 5, 23, 10.5], [1, 2, 2, 2]]
    assert [(one["image_id"], one["iscrowd"], one["area"]) for one in train["annotations"]] == [
        (1, 0, 241.5),
        (1, 1, 4),
    ]
    names = ["ship", "car", "a Kai"]
    assert train["categories"] == [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    test = json.loads((tmp_path / "out" / "test.json").read_text())
    assert test["annotations"][0]["segmentation"] == [[10, 5, 20, 5, 20, 15, 10, 15]]
    assert [one["category_id"] for one in test["annotations"]] == [1, 3]


def test_there_and_back_is_equal_where_coco_can_hold_it(own, tmp_path):
    before = annotated(own)
    convert(own, tmp_path / "out", "coco", copy_images=True)
    back = annotated(open_target(tmp_path / "out"))
    assert len(back) == 2
    for (image, picture), (copied, other) in zip(sorted(before.items()), sorted(back.items()), strict=True):
        assert image.rpartition("/")[2] == copied.rpartition("/")[2] and picture.split == other.split
        for one, read in zip(picture.objects, other.objects, strict=True):
            assert (one.name.lower(), one.difficult) == (read.name, read.difficult)
            assert all(abs(a - b) < 1e-12 for a, b in zip(one.box, read.box, strict=True))


def test_records_without_objects_are_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.jsonl").write_text(json.dumps({"image": "a.png", "question": "a", "answer": "b"}))
    with pytest.raises(SkyEyeError, match="nothing could be written: it holds no object"):
        convert(open_target(tmp_path / "a.jsonl"), tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()
