"""What reaches the model from outside the recipe's text belongs to what a resumed run is compared by."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

import pytest

from skyeye.config.load import load_recipe
from skyeye.config.schema import ModelConfig, TokenizerConfig, VisionConfig
from skyeye.data.files import PIECE, PIECES, file_fingerprint
from skyeye.data.groups import GroupList
from skyeye.data.record import Record, Region, Turn
from skyeye.errors import SkyEyeError
from skyeye.train.checkpoint.ingredients import contents, files_of_model
from skyeye.train.checkpoint.resume import changed_data
from skyeye.train.setup import setup_run


def test_a_file_is_known_by_its_content_not_by_its_times(tmp_path):
    file = tmp_path / "w.bin"
    file.write_bytes(bytes(range(256)) * 40)
    before = file_fingerprint(file)
    os.utime(file, (1, 1))
    assert file_fingerprint(file) == before
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    assert file_fingerprint(file) != before


def test_of_a_large_file_pieces_over_all_of_it_are_looked_at(tmp_path):
    file = tmp_path / "w.bin"
    size = 2 * PIECES * PIECE
    file.write_bytes(bytes(size))
    before = file_fingerprint(file)
    for start in (0, size // 2 - PIECE, size - 1):  # what a fine-tuned copy changes is everywhere
        with open(file, "r+b") as stream:
            stream.seek(start)
            stream.write(b"\1" * min(2 * PIECE, size - start))
        assert file_fingerprint(file) != before
        file.write_bytes(bytes(size))
    assert file_fingerprint(file) == before


def test_files_of_the_model_by_their_settings(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    (tmp_path / "eva.pth").write_bytes(b"weights")
    model = ModelConfig(
        vision=VisionConfig(weights=str(tmp_path / "eva.pth")), tokenizer=TokenizerConfig(str(tmp_path / "tokenizer"))
    )
    model.language.pretrained = "org/on-the-hub"
    before = files_of_model(model)
    assert list(before) == ["model.vision[0].weights", "model.tokenizer.path"]
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text("other words")
    now = files_of_model(model)
    assert {key for key in before if before[key] != now[key]} == {"model.tokenizer.path"}


def test_pictures_and_regions_are_part_of_a_source(tmp_path):
    (tmp_path / "a.png").write_bytes(b"first")
    record = Record("1", "s", "vqa", "train", (f"{tmp_path}/a.png#bands=1",), (Turn("what", "a pier"),))
    before = contents(GroupList([record]))
    other = dataclasses.replace(record, regions=(Region((0.0, 0.0, 1.0, 1.0), "pier"),))
    assert contents(GroupList([record])) == before != contents(GroupList([other]))
    (tmp_path / "a.png").write_bytes(b"another one")
    assert contents(GroupList([record])) != before


@pytest.fixture
def manifest(recipe, world, tmp_path):
    """What a run in ``tmp_path/run`` has noted, on a copy of the scenes."""
    shutil.copytree(world, tmp_path / "scenes")
    setup = setup_run(load_recipe(recipe(), [f"sources.world.path={tmp_path}/scenes"]))
    setup.look_at_files()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "environment.json").write_text(json.dumps(setup.manifest))
    return setup.manifest


def test_other_pictures_under_the_same_names_are_refused(manifest, recipe, tmp_path):
    folder = tmp_path / "run"
    assert changed_data(folder, manifest, None, None) == []
    picture = next((tmp_path / "scenes" / "images").iterdir())
    picture.write_bytes(picture.read_bytes() + b"\0")
    setup = setup_run(load_recipe(recipe(), [f"sources.world.path={tmp_path}/scenes"]))
    setup.look_at_files()
    with pytest.raises(SkyEyeError, match="source world: pictures of other sizes, or other regions"):
        changed_data(folder, setup.manifest, None, None)


def test_other_weights_are_refused_and_other_versions_are_told(manifest, tmp_path):
    folder = tmp_path / "run"
    parts = {"parts": {"model.checkpoint": "0123"}, "versions": {**manifest["versions"], "torch": "1.0"}}
    (folder / "environment.json").write_text(json.dumps({**manifest, **parts}))
    now = {**manifest, "parts": {"model.checkpoint": "4567"}}
    with pytest.raises(SkyEyeError, match="the content of model.checkpoint 0123 -> 4567"):
        changed_data(folder, now, None, None)
    told = [f"version of torch 1.0 -> {manifest['versions']['torch']}"]
    assert changed_data(folder, now, None, tmp_path) == told  # the model comes from an export
    del parts["parts"]  # a run of an earlier version
    (folder / "environment.json").write_text(json.dumps({**manifest, "parts": {}, **parts}))
    assert changed_data(folder, now, None, None) == told
