import json

import pytest

from skyeye.data.formats.base.splits import Splits, split_in
from skyeye.errors import SkyEyeError


def test_patterns_first_then_the_rest():
    rule = Splits(patterns={"test": ["Munich*"], "val": "a?.png"}, test_fraction=0.0)
    names = ["MunichStreet-1.png", "frames/a1.png", "a10.png", "b.png"]
    assert [rule.of(name) for name in names] == ["test", "val", "train", "train"]


def test_fraction_is_kept_and_the_same_every_time():
    names = [f"img_{i}.png" for i in range(2000)]
    chosen = [Splits(test_fraction=0.25).of(name) for name in names]
    assert chosen == [Splits(test_fraction=0.25).of(f"folder/{name}") for name in names]
    assert 0.22 < chosen.count("test") / len(names) < 0.28
    assert {Splits(test_fraction=1.0).of(name) for name in names} == {"test"}


@pytest.mark.parametrize("arguments", [{"patterns": {"tests": "*"}}, {"test_fraction": 1.5}, {"default": "none"}])
def test_refused(arguments):
    with pytest.raises(SkyEyeError):
        Splits(**arguments)


def test_the_split_of_captions_is_followed_in_both_layouts(tmp_path):
    images = [{"filename": "a_1.jpg", "split": "test"}, {"filename": "a_2.jpg", "split": "restval"}, 3, {}]
    for content in ({"images": images, "dataset": "x"}, {"airplane": images[:1], "beach": images[1:], "note": "x"}):
        (tmp_path / "captions.json").write_text(json.dumps(content))
        rule = Splits(split_file=str(tmp_path / "captions.json"))
        assert [rule.of(name) for name in ("A_1.tif", "beach/a_2.jpg", "a_3.jpg")] == ["test", "train", None]
    for content in ({}, {"images": 3}, {"a": 1}):
        (tmp_path / "captions.json").write_text(json.dumps(content))
        with pytest.raises(SkyEyeError, match="has no list `images`"):
            Splits(split_file=str(tmp_path / "captions.json"))


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("dota_train_vqa2.txt", "train"),
        ("DOTA/val/labelTxt/P0003.txt", "val"),
        ("test/P0003.txt", "test"),
        ("sydney_vqa.txt", None),
        ("training/x/y/contest.txt", None),
    ],
)
def test_split_in_a_name(path, split):
    assert split_in(path) == split
