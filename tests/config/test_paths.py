"""Home folders and variables in paths mean what they mean to a shell, wherever a path is taken."""

from __future__ import annotations

import dataclasses
import os
import typing

import pytest

from skyeye.config import schema
from skyeye.config.load import RecipeError, load_recipe
from skyeye.config.paths import expanded, is_path
from skyeye.errors import SkyEyeError

RECIPE = """
name: t
output_dir: ~/runs/t
sources: {made: {format: skyeye968k, path: $DATA/world, images: "${oc.env:DATA}/images"}}
model: {language: {pretrained: ~/llama}, tokenizer: {path: $DATA/tokens}, vision: {weights: ~/eva.pth}}
eval: {data_root: ~/bench}
run: {dir: null}
stages: [{name: one, steps: 2000, mixture: [{source: made}], feature_cache: $DATA/cache}]
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/big/disk")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NOWHERE", raising=False)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("~", "/home/me"),
        ("~/x", "/home/me/x"),
        ("$DATA/x", "/big/disk/x"),
        ("a/${DATA}x", "a//big/diskx"),
        ("~/$DATA", "/home/me//big/disk"),
        ("./~/x", "./~/x"),
        ("x~", "x~"),
        ("price$5", "price$5"),
        ("x$", "x$"),
        ("https://host/~me/$DATA", "https://host/~me/$DATA"),
        ("", ""),
        ("meta-llama/Llama-2-7b-chat-hf", "meta-llama/Llama-2-7b-chat-hf"),
    ],
)
def test_a_path_as_a_shell_reads_it(text, meant):
    assert expanded(text) == meant


@pytest.mark.parametrize("text", ["$NOWHERE/x", "a/${NOWHERE}", "$EMPTY/x", "~/$NOWHERE", "~nobody-has-this-name/x"])
def test_what_stands_for_nothing_is_refused(text):
    with pytest.raises(SkyEyeError, match="is not set|there is no user"):
        expanded(text)


def test_a_file_that_exists_as_it_is_written_is_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a$NOWHERE.jpg").touch()
    assert expanded("a$NOWHERE.jpg") == "a$NOWHERE.jpg"


def test_every_path_of_a_recipe_is_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = load_recipe("r.yaml", ["run.dir=~/here", "model.checkpoint=$DATA/c"])
    assert (recipe.output_dir, recipe.folder) == ("/home/me/runs/t", "/home/me/here")
    source = recipe.sources["made"]
    assert (source.path, source.images) == ("/big/disk/world", "/big/disk/images")
    model = recipe.model
    assert (model.checkpoint, model.language.pretrained) == ("/big/disk/c", "/home/me/llama")
    assert (model.tokenizer.path, model.towers[0].weights) == ("/big/disk/tokens", "/home/me/eva.pth")
    assert (recipe.eval.data_root, recipe.stages[0].feature_cache) == ("/home/me/bench", "/big/disk/cache")
    assert os.listdir(tmp_path) == ["r.yaml"]


def test_all_that_is_not_set_is_said_at_once(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE.replace("$DATA/world", "$NOWHERE/world").replace("~/runs/t", "$EMPTY/x"))
    with pytest.raises(RecipeError) as told:
        load_recipe(tmp_path / "r.yaml")
    assert {issue.path for issue in told.value.issues} == {"output_dir", "sources.made.path"}
    assert "$NOWHERE is not set" in str(told.value)


def test_what_is_no_interpolation_is_explained(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE.replace("$DATA/world", '"${DATA}/world"'))
    with pytest.raises(SkyEyeError, match=r"\$DATA in a path, \$\{oc.env:DATA\} elsewhere"):
        load_recipe(tmp_path / "r.yaml")


def test_settings_that_sound_like_paths_are_paths():
    """A new setting with such a name has to be one, too."""
    for name in schema.__all__:
        section = getattr(schema, name)
        if not dataclasses.is_dataclass(section):
            continue
        for field, kind in typing.get_type_hints(section, include_extras=True).items():
            sounds = field in ("path", "dir", "images", "weights", "checkpoint", "pretrained")
            if (sounds or field.endswith(("_dir", "_root", "_cache"))) and "str" in str(kind):
                assert is_path(kind), f"{name}.{field}"
