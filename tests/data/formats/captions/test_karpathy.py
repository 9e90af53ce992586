import json

import pytest

from skyeye.errors import SkyEyeError

SENTENCES = [{"raw": "There is a Field .", "tokens": ["There"]}, {"raw": "A field ."}]


def dataset(tmp_path, *images):
    (tmp_path / "dataset.json").write_text(json.dumps({"dataset": "UCM", "images": images}))
    return tmp_path / "dataset.json"


@pytest.fixture
def three(tmp_path, write_images):
    write_images(tmp_path, "imgs/1.tif", "imgs/2.tif", "imgs/3.tif")
    return dataset(
        tmp_path,
        *(
            {"filename": f"{n}.tif", "split": s, "sentences": SENTENCES}
            for n, s in enumerate(("train", "val", "test"), 1)
        ),
    )


def test_one_record_per_caption_for_training(three, read):
    records, skipped = read("karpathy", three, split="train")
    assert not skipped
    assert [r.turns[0].answer for r in records] == ["there is a field", "a field"]  # the reference's caption processor
    assert all(r.turns[0].question.startswith("[caption] ") and r.images[0].endswith("imgs/1.tif") for r in records)
    assert {(r.source, r.task, r.split) for r in records} == {("UCM", "caption", "train")}
    assert len({r.id for r in records}) == 2


def test_one_record_per_image_for_evaluation(three, read):
    for split in ("val", "test"):
        (record,), _ = read("karpathy", three, split=split)
        assert record.id == {"val": "2.tif", "test": "3.tif"}[split]
        assert record.references == {"captions": ["There is a Field .", "A field ."]}
        assert record.turns[0].question == "[caption] briefly describe the image"
    assert [r.split for r in read("karpathy", three)[0]] == ["train", "train", "val", "test"]


def test_the_id_of_the_annotation_is_kept_for_evaluation(tmp_path, write_images, read):
    write_images(tmp_path, "1.tif", "2.tif", "3.tif", "4.tif")
    named = {"1.tif": ("train", 0), "2.tif": ("val", 1), "3.tif": ("test", "x3"), "4.tif": ("test", True)}
    path = dataset(
        tmp_path,
        *({"filename": n, "split": s, "imgid": id, "sentences": SENTENCES} for n, (s, id) in named.items()),
    )
    records, skipped = read("karpathy", path)
    assert [r.references.get("published_id") for r in records] == [None, None, "1", "x3", None] and not skipped


def test_restval_is_training_data(tmp_path, write_images, read):
    write_images(tmp_path, "1.tif")
    path = dataset(tmp_path, {"filename": "1.tif", "split": "restval", "sentences": SENTENCES})
    assert [r.split for r in read("karpathy", path, split="train")[0]] == ["train", "train"]


def test_what_does_not_fit_is_told(tmp_path, write_images, read):
    write_images(tmp_path, "1.tif", "2.tif")
    path = dataset(
        tmp_path,
        {"filename": "1.tif", "split": "train", "sentences": [*SENTENCES, {"raw": " . "}, {"tokens": []}, 3]},
        {"filename": "2.tif", "split": "train", "sentences": []},
        {"filename": "3.tif", "split": "train", "sentences": SENTENCES},
        {"filename": "1.tif", "split": "training", "sentences": SENTENCES},
        {"split": "train", "sentences": SENTENCES},
        7,
        *[{"filename": "2.tif", "split": "train", "sentences": SENTENCES}] * 3,
    )
    records, skipped = read("karpathy", path)
    assert len(records) == 2 + 6
    assert skipped == {"no answer": 4, "missing image": 1, "unknown split": 1, "not a record": 2}


def test_a_missing_image_takes_its_captions_with_it(tmp_path, items):
    path = dataset(
        tmp_path,
        {"filename": "1.tif", "split": "train", "sentences": [*SENTENCES, {"raw": "."}]},
        {"filename": "2.tif", "split": "test", "sentences": [*SENTENCES, {"raw": "."}]},
    )
    assert items("karpathy", path) == ([], {"missing image": 2 + 1, "no answer": 2})


def test_a_file_of_another_format(tmp_path, read):
    (tmp_path / "x.json").write_text('{"questions": []}')
    with pytest.raises(SkyEyeError, match="x.json: has no list `images`"):
        read("karpathy", tmp_path / "x.json")
