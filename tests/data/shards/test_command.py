"""``skyeye data pack``: recipes, folders and files in, shards and the sources for a recipe out."""

import json

import pytest
import yaml

from skyeye.cli import main
from skyeye.config.load import load_recipe
from skyeye.data.shards.index import ShardSet

RECIPE = """
name: small
output_dir: runs/small
model: {language: {config: {model_type: llama}}}
sources:
  asked: {format: llava, path: FOLDER/first/all.json, images: FOLDER/first/images, split: train, options: {task: vqa}}
  idle: {format: llava, path: nothing/here.json}
stages: [{name: one, mixture: [{source: asked}], steps: 1001}]
"""


@pytest.fixture
def recipe(many, tmp_path):
    (tmp_path / "small.yaml").write_text(RECIPE.replace("FOLDER", str(tmp_path)))
    return tmp_path / "small.yaml"


def test_a_recipe_keeps_its_names_and_its_shards_take_their_place(recipe, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["data", "pack", str(recipe), "--out", str(out), "--workers", "1"]) == 0
    assert "asked: 120 samples of 40 images, 0 skipped" in capsys.readouterr().out
    sources = yaml.safe_load((out / "sources.yaml").read_text())["sources"]
    assert sources == {"asked": {"format": "shards", "path": str(out), "options": {"source": "asked"}}}
    (tmp_path / "from_shards.yaml").write_text(yaml.safe_dump({"extends": "small.yaml", "sources": sources}))
    source = load_recipe(tmp_path / "from_shards.yaml").sources["asked"]
    # nothing of the old format is left over: its options would be unknown to the new one
    assert (source.format, source.images, source.split, source.options) == ("shards", None, None, {"source": "asked"})
    assert load_recipe(tmp_path / "from_shards.yaml").sources["idle"].format == "llava"


def test_files_and_folders_are_recognised_and_named_apart(many, tmp_path):
    files = [str(tmp_path / name / "all.json") for name in ("first", "second")]
    for name in ("first", "second"):  # pictures beside the annotations are found without being named
        for picture in (tmp_path / name / "images").rglob("*.png"):
            picture.rename(tmp_path / name / picture.name)
    assert main(["data", "pack", *files, "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    shards = ShardSet(tmp_path / "out")
    assert len(shards.sources) == 2 and shards.sources[1] == f"{shards.sources[0]}-2"
    assert shards.header["samples"] == 140


def test_settings_reach_the_shards(recipe, tmp_path):
    options = ["--out", str(tmp_path / "out"), "--workers", "1", "--re-encode", "webp", "--quality", "50"]
    assert main(["data", "pack", str(recipe), *options, "--max-side", "4", "--shard-mb", "1"]) == 0
    header = json.loads((tmp_path / "out/index.json").read_text())
    assert header["encoding"] == {"format": "webp", "quality": 50, "max_side": 4}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-side", "9"], "--max-side: reducing images writes them anew .add --re-encode"),
        (["--workers", "0"], "must be 1 or more"),
        (["--shard-mb", "0"], "must be 1 or more"),
    ],
)
def test_settings_that_mean_nothing(recipe, tmp_path, capsys, options, words):
    import re

    assert main(["data", "pack", str(recipe), "--out", str(tmp_path / "out"), *options]) == 2
    assert re.search(words, capsys.readouterr().err) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--quality", "200", "--re-encode", "jpeg"], "--quality: quality 200 is not between 1 and 100"),
        (["--max-side", "-3", "--re-encode", "png"], "--max-side: a side of -3 pixels is no picture"),
    ],
)
def test_numbers_that_make_no_sense(recipe, tmp_path, capsys, options, words):
    assert main(["data", "pack", str(recipe), "--out", str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_target_that_is_named_twice(recipe, tmp_path, capsys):
    """A shell pattern beside a name: ``data pack a.yaml *.yaml``."""
    assert main(["data", "pack", str(recipe), str(recipe), "--out", str(tmp_path / "out")]) == 2
    assert "is named twice: all its samples would count double" in capsys.readouterr().err
