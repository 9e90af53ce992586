"""What a recipe names on the disk, looked at before anything is read; told with its other mistakes."""

from __future__ import annotations

import errno
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from skyeye.config.load import RecipeError
from skyeye.data import files
from skyeye.data.preflight import load_recipe_to_run, other_content


def _mistakes(path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as raised:
        load_recipe_to_run(path, overrides)
    return [str(issue) for issue in raised.value.issues]


def test_a_sound_recipe_has_nothing_to_say(recipe):
    assert load_recipe_to_run(recipe()).name == "test"


def test_everything_is_said_together(recipe, tmp_path):
    (tmp_path / "afile").write_text("mine")
    (tmp_path / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    found = _mistakes(
        recipe(),
        f"output_dir={tmp_path}/afile/x",
        "sources.world.path=nowhere",
        "sources.world.images=nor_here",
        "stages.0.mixture.0.tasks={vqq: 1}",
        "stages.1.mixture=[]",
        f"model.vision.weights={tmp_path}/pointer.safetensors",
        "model.checkpoint=no/such/folder",
        "run.log_every=0",
    )
    expected = [
        "stages[1].mixture: is empty",
        "run.log_every: 0 is below 1",
        f"output_dir: {tmp_path}/afile is a file, not a folder",
        "sources.world.path: nowhere does not exist",
        "sources.world.images: nor_here is no folder",
        "stages[0].mixture[0].tasks: unknown task 'vqq' (did you mean 'vqa'?)",
        f"model.vision.weights: {tmp_path}/pointer.safetensors is a Git LFS pointer",
        "model.checkpoint: no/such/folder does not exist",
    ]
    assert len(found) == len(expected), found
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("output_dir=''", "output_dir: is empty"),
        ("run.dir={}/gone/x", "run.dir: {}/gone is a link to nothing"),
        ("stages.1.feature_cache={}/afile", "stages[1].feature_cache: {}/afile is a file, not a folder"),
        ("sources.world={{format: synthetc, path: x}}", "sources.world.format: unknown format 'synthetc'"),
        ("sources.world.options={{sed: 1}}", "sources.world.options: unknown option 'sed'"),
        ("model.language={{config: null, pretrained: ./llama}}", "model.language.pretrained: llama does not exist"),
        (
            "model.language={{config: null, pretrained: {}/empty}}",
            "model.language.pretrained: {}/empty holds no config",
        ),
        (
            "model.tokenizer={{train_vocab_size: null, path: /no/where}}",
            "model.tokenizer.path: /no/where does not exist",
        ),
        ("model.tokenizer.train_vocab_size=null", "model.tokenizer: a fresh language model has none"),
        ("eval={{every: 2, benchmarks: [synth.vqa], data_root: nowhere}}", "eval.data_root: nowhere is no folder"),
    ],
)
def test_each_path(recipe, tmp_path, override, expected):
    (tmp_path / "afile").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    found = _mistakes(recipe(), override.format(tmp_path))
    assert len(found) == 1 and found[0].startswith(expected.format(tmp_path)), found


def test_a_place_that_the_system_refuses(recipe, tmp_path, monkeypatch):
    def full(folder, name):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_try_below", full)
    (line,) = _mistakes(recipe())
    assert line.startswith(f"output_dir: {tmp_path}/run cannot be written: No space left on device")


def test_a_hub_name_is_no_missing_folder(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = "model.language={config: null, pretrained: org/model}"
    assert load_recipe_to_run(recipe(), [named]).model.language.pretrained == "org/model"
    (tmp_path / "org").mkdir()
    assert _mistakes(recipe(), named) == ["model.language.pretrained: org/model does not exist; check the path"]


def test_pointers_in_a_folder_of_weights_are_told(recipe, tmp_path):
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    (line,) = _mistakes(recipe(), f"model.language={{config: null, pretrained: {folder}}}")
    assert "llama/model.safetensors is a Git LFS pointer" in line and "git lfs pull" in line


def test_a_run_folder_in_the_place_of_its_model_is_sent_to_the_model(recipe, tmp_path):
    stage = tmp_path / "runs" / "a" / "checkpoints" / "two"
    stage.mkdir(parents=True)
    (stage / "config.json").write_text("{}")
    (line,) = _mistakes(recipe(), f"model.checkpoint={tmp_path}/runs/a")
    assert line.endswith(f"a holds no config.json; name one of its models, e.g. {stage}")


def test_what_weights_may_be_instead(tmp_path):
    sound, torchs = tmp_path / "a.safetensors", tmp_path / "b.pth"
    save_file({"w": torch.zeros(1000)}, sound)
    torch.save({"w": torch.zeros(3)}, torchs)
    assert other_content(sound) is None and other_content(torchs) is None
    whole = sound.read_bytes()
    for size in (len(whole) - 7, 40):  # within the numbers, within the header
        sound.write_bytes(whole[:size])
        header = int.from_bytes(whole[:8], "little")
        missing = len(whole) - size if size > 8 + header else 8 + header - size
        assert other_content(sound) == f"is cut short: {missing} bytes are missing; download or copy it again"
    for content, kind in (
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"", "empty"),
        (b"PK\x03\x04", "a ZIP"),
        (b"{}", "JSON"),
    ):
        sound.write_bytes(content)
        assert other_content(sound).startswith(f"is {kind}")
    torchs.write_text(json.dumps({}))
    assert other_content(torchs).startswith("is JSON") and other_content(torchs, text=True) is None
