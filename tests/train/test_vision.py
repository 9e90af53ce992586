"""Recipes whose models see by levels or by several towers train as all others do."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from skyeye.config.load import load_recipe
from skyeye.errors import SkyEyeError
from skyeye.models import projectors
from skyeye.models.pretrained import open_checkpoint
from skyeye.plan.plan import Hardware, make_plan
from skyeye.train.run import train

EVA = {"image_size": 28, "patch_size": 7, "width": 16, "depth": 3, "heads": 2, "mlp_ratio": 2.0}
CONV = {
    "architecture": "timm",
    "name": "convnext_atto",
    "image_size": 64,
    "arguments": {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 8]},
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}
EYES = {
    "levels": {"vision": {**EVA, "layers": [1, -2]}},
    "two towers": {"vision": [EVA, CONV], "vision_norm": False},
}


@pytest.fixture
def eyes(recipe):
    """A function that writes the recipe with another ``model.vision``; further settings are sections."""

    def write(name: str, **changes):
        content = yaml.safe_load(recipe().read_text())
        return recipe(model={**content["model"], **EYES[name]}, **changes)

    return write


def losses(folder) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", EYES)
def test_a_run_trains_every_tower(eyes, tmp_path, world, name):
    last = train(eyes(name))
    assert losses(tmp_path / "run")[3] < losses(tmp_path / "run")[0]
    train(eyes(name, output_dir=str(tmp_path / "resting")), ["stages.0.vision=frozen"])
    learnt, rested, after = (
        load_file(tmp_path / run / "checkpoints" / stage / "model.safetensors")
        for run, stage in (("run", "pretrain"), ("resting", "pretrain"), ("run", "single_task"))
    )
    towers = ("vision_tower.towers.0.", "vision_tower.towers.1.") if name == "two towers" else ("vision_tower.",)
    for tower in towers:
        names = [part for part in learnt if part.startswith(tower)]
        assert names and not any(torch.equal(learnt[part], rested[part]) for part in names)
        assert all(torch.equal(learnt[part], after[part]) for part in names)  # the second stage leaves it frozen
    model, processor = open_checkpoint(last)
    pixels = processor.pixels(next((world / "images").iterdir()))
    assert pixels.shape == model.config.pixel_shape and model.encode_images(pixels[None]).isfinite().all()


@pytest.mark.parametrize("name", EYES)
def test_separate_rows_learn_the_same(eyes, tmp_path, name):
    for share in (True, False):
        train(eyes(name, output_dir=str(tmp_path / str(share))), [f"run.share_prefix={str(share).lower()}"])
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), abs=2e-4)


@pytest.mark.parametrize("name", EYES)
def test_a_feature_cache_gives_the_losses_of_pixels(eyes, tmp_path, name):
    settings = ["stages.0.vision=frozen"]
    train(eyes(name, output_dir=str(tmp_path / "pixels")), settings)
    cache = [*settings, f"stages.0.feature_cache={tmp_path / 'cache'}", "stages.0.feature_dtype=fp32"]
    train(eyes(name, output_dir=str(tmp_path / "cached")), cache)
    assert losses(tmp_path / "cached") == pytest.approx(losses(tmp_path / "pixels"), abs=1e-6)


@pytest.mark.parametrize("name", EYES)
def test_it_can_be_planned(eyes, name):
    first = yaml.safe_load(eyes(name).read_text())["stages"][:1]  # what a tower takes is the same in every stage
    plan = make_plan(load_recipe(eyes(name, stages=first)), Hardware(gpus=1))
    assert plan["parameters"]["vision"]["values"] > 0 and plan["stages"][0]["flops_per_step"] > 0
    assert all(strategy["activations"] > 0 for strategy in plan["stages"][0]["strategies"])


def test_a_projector_that_reads_the_question_shares_no_prefix(eyes, tmp_path, monkeypatch):
    class ReadsText(projectors.PROJECTORS["linear"]):
        reads_text = True

    monkeypatch.setitem(projectors.PROJECTORS, "linear", ReadsText)
    with pytest.raises(SkyEyeError, match="model.projector, run.share_prefix: this projector reads the question"):
        train(eyes("levels"))
    assert not (tmp_path / "run").exists()  # refused before anything is read or written
    with pytest.raises(SkyEyeError, match="set run.share_prefix: false"):
        make_plan(load_recipe(eyes("levels")), Hardware(gpus=1))
    last = train(eyes("levels"), ["run.share_prefix=false"])
    assert last == tmp_path / "run" / "checkpoints" / "single_task"
