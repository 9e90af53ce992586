import datetime
import json
import logging

import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import READERS, check_source, options_of, read_source
from skyeye.data.formats.base.options import describe
from skyeye.data.formats.base.problems import Problem
from skyeye.data.images.stretch import IMAGE_OPTIONS
from skyeye.errors import SkyEyeError


@pytest.fixture
def captions(tmp_path, write_images):
    """Three images of which one is missing."""
    write_images(tmp_path / "imgs", "1.tif", "2.tif")
    images = [{"filename": f"{n}.tif", "split": "train", "sentences": [{"raw": f"Field {n} ."}]} for n in (1, 2, 3)]
    (tmp_path / "c.json").write_text(json.dumps({"images": images}))
    return tmp_path / "c.json"


def test_missing_image_is_counted_listed_and_the_rest_read(captions, caplog):
    with caplog.at_level(logging.WARNING):
        records = read_source(SourceConfig("karpathy", str(captions)), "fields")
    assert [record.source for record in records] == ["fields", "fields"]
    assert "fields: 1 skipped" in caplog.text
    assert f"1 x missing image: {captions}, image 2: image '3.tif' is not in" in caplog.text


def test_all_images_missing_names_the_folder_and_the_key(captions, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SkyEyeError) as error:
        read_source(SourceConfig("karpathy", str(captions), images=str(tmp_path / "empty")), "fields")
    message = str(error.value)
    assert "sources.fields" in message and "none of 3 records has its image" in message
    assert str(tmp_path / "empty") in message and "`images:`" in message


def test_unknown_format_names_the_nearest():
    with pytest.raises(SkyEyeError, match=r"sources.x.format: unknown format 'karpthy' \(did you mean 'karpathy'"):
        read_source(SourceConfig("karpthy", "."), "x")


def test_unknown_option_names_the_nearest(tmp_path):
    with pytest.raises(SkyEyeError, match=r"sources.x.options: unknown option 'min_sid' \(did you mean 'min_side'"):
        read_source(SourceConfig("dota", str(tmp_path), options={"min_sid": 1}), "x")


def test_path_that_is_not_there(tmp_path):
    for name in READERS:
        with pytest.raises(SkyEyeError, match="nothing.here does not exist") as told:
            read_source(SourceConfig(name, str(tmp_path / "nothing.here")), "x")
        remedy = f"skyeye data synth {tmp_path}/nothing.here" if name == "synthetic" else "check the path"
        assert remedy in str(told.value)


def test_split_that_is_not_there(captions):
    with pytest.raises(SkyEyeError, match="no record of split 'tran' .did you mean 'train'"):
        read_source(SourceConfig("karpathy", str(captions), split="tran"), "x")


def test_more_broken_than_sound_is_refused(tmp_path, write_images):
    write_images(tmp_path, "a.jpg")
    good = {"image": "a", "text": "[vqa] what?", "ground_truth": "a ship"}
    bad = {"image": "a", "text": "[vqa] what?"}
    (tmp_path / "x.json").write_text(json.dumps([good, bad]))
    assert len(read_source(SourceConfig("llava", str(tmp_path / "x.json")), "x")) == 1
    (tmp_path / "x.json").write_text(json.dumps([good, bad, bad]))
    with pytest.raises(SkyEyeError, match="2 records are broken and only 1 are sound; the first: .*record 1: mess"):
        read_source(SourceConfig("llava", str(tmp_path / "x.json")), "x")


def test_no_record_at_all(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(SkyEyeError, match="holds no record"):
        read_source(SourceConfig("llava", str(tmp_path / "x.json")), "x")


def test_a_problem_reads_as_place_and_sentence():
    assert str(Problem("no answer", "x.json, record 3", "nothing follows")) == "x.json, record 3: nothing follows"


@pytest.mark.parametrize("format", sorted(READERS))
def test_an_option_of_another_type_is_told(format, tmp_path):
    """A date is what no option takes; the path is there, so nothing else is wrong."""
    for option, kind in options_of(format).items():
        if option in IMAGE_OPTIONS:
            continue
        with pytest.raises(SkyEyeError, match=rf"sources.x.options.{option}: expected .*, got '2026-11-26'"):
            check_source(SourceConfig(format, str(tmp_path), options={option: datetime.date(2026, 11, 26)}), "x")
        assert "anything" not in describe(kind), (format, option)


@pytest.mark.parametrize(
    ("format", "option", "value", "words"),
    [
        ("coco", "min_side", "0,1", "expected a number, got '0,1'"),
        ("coco", "min_side", float("nan"), "expected a number, got 'nan'"),
        ("coco", "min_side", True, "expected a number"),
        ("jsonl", "frames", 2.5, "expected a whole number"),
        ("jsonl", "splits", {"test": 3}, "expected names with values .NAME: VALUE., each value text or a list"),
        ("yolo", "names", [["ship"]], "expected a list, each entry text or names with values"),
        ("llava", "strict_tags", "yes", "expected true or false"),
    ],
)
def test_values_of_options_that_nearly_fit(format, option, value, words, tmp_path):
    with pytest.raises(SkyEyeError, match=words):
        check_source(SourceConfig(format, str(tmp_path), options={option: value}), "x")


def test_values_of_options_that_fit(tmp_path):
    for option, value in {"min_side": 1, "splits": {"test": ["a*"], "val": "b*"}, "test_fraction": 0.5}.items():
        assert check_source(SourceConfig("coco", str(tmp_path), options={option: value}), "x")
    for names in (["ship"], {0: "ship"}, "a.yaml", None):
        assert check_source(SourceConfig("yolo", str(tmp_path), options={"names": names}), "x")
