"""A run from its recipe to its folder: stages, exports, resuming, refusing."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from skyeye.errors import SkyEyeError
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor
from skyeye.train import loop
from skyeye.train.run import train


def _weights(folder, stage):
    return load_file(folder / "checkpoints" / stage / "model.safetensors")


def test_a_run_leaves_what_is_needed_to_repeat_and_use_it(recipe, tmp_path):
    last = train(recipe())
    folder = tmp_path / "run"
    assert last == folder / "checkpoints" / "single_task"
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [
        *(("pretrain", n) for n in range(1, 5)),
        *(("single_task", n) for n in range(1, 5)),
    ]
    assert lines[3]["loss"] < lines[0]["loss"]
    for name in ("recipe.yaml", "environment.json", "loss.png"):
        assert (folder / name).stat().st_size > 100
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["seed"] == 7 and "torch" in environment["versions"]
    assert environment["sources"]["world"]["groups"] > 0
    assert not list(folder.rglob("*.partial"))
    SkyEyeForConditionalGeneration.from_pretrained(last)
    SkyEyeProcessor.from_pretrained(last)


def test_each_stage_trains_what_it_names_and_nothing_else(recipe, tmp_path):
    train(recipe())
    before, after = _weights(tmp_path / "run", "pretrain"), _weights(tmp_path / "run", "single_task")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("lora_" in name or name.startswith("projector") for name in changed)
    assert any("lora_B" in name for name in changed) and any(name.startswith("projector") for name in changed)


@pytest.mark.parametrize("stop_after", [1, 3, 6])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(recipe, tmp_path, monkeypatch, stop_after):
    whole = recipe(output_dir=str(tmp_path / "whole"))
    train(whole)

    steps = 0
    real = loop.learning_rate

    def interrupt(*args, **kwargs):
        nonlocal steps
        steps += 1
        if steps == stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **kwargs)

    halves = recipe(output_dir=str(tmp_path / "halves"))
    monkeypatch.setattr(loop, "learning_rate", interrupt)
    assert train(halves) is None
    monkeypatch.setattr(loop, "learning_rate", real)
    assert train(halves, resume=True) is not None

    for stage in ("pretrain", "single_task"):
        one, two = _weights(tmp_path / "whole", stage), _weights(tmp_path / "halves", stage)
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_folder_that_holds_a_run_is_not_overwritten(recipe):
    path = recipe()
    train(path)
    with pytest.raises(SkyEyeError, match="--resume"):
        train(path)


def test_resuming_with_another_recipe_is_refused(recipe):
    path = recipe()
    train(path)
    with pytest.raises(SkyEyeError, match="not the one this run was started with"):
        train(path, ["seed=8"], resume=True)


def test_quick_takes_a_tenth_of_the_steps(recipe, tmp_path):
    train(recipe(), ["stages.0.steps=40", "stages.1.steps=20"], quick=True)
    lines = [json.loads(line) for line in (tmp_path / "run-quick" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["stage"] == "pretrain"][-1] == 4
    assert [line["step"] for line in lines if line["stage"] == "single_task"][-1] == 2


def test_the_order_of_the_data_does_not_depend_on_loader_workers(recipe, tmp_path):
    losses = []
    for workers in (0, 2):
        folder = tmp_path / f"w{workers}"
        train(recipe(output_dir=str(folder)), [f"run.workers={workers}"])
        losses.append([json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()])
    assert losses[0] == losses[1]
