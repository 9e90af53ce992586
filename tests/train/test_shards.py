"""Training from shards is training from the original files; epochs are steps, counted once the data are known."""

from __future__ import annotations

import json
import math

import pytest

from skyeye.config.load import RecipeError, load_recipe, quick_recipe
from skyeye.config.schema import SourceConfig
from skyeye.data.prompts import MiniGPTv2
from skyeye.data.shards.pack import pack
from skyeye.errors import SkyEyeError
from skyeye.train.run import train
from skyeye.train.setup import RunData, load_data, plan_stages, texts_of


@pytest.fixture
def shards(world, tmp_path):
    pack({"world": SourceConfig("synthetic", str(world))}, tmp_path / "shards", shard_bytes=50_000)
    return {"world": {"format": "shards", "path": str(tmp_path / "shards"), "options": {"source": "world"}}}


def log(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["stage"], line["step"], line["loss"], line["learning_rate"]) for line in lines]


def test_a_run_from_shards_is_the_run_from_the_files(recipe, shards, tmp_path):
    train(recipe(output_dir=str(tmp_path / "files")))
    train(recipe(output_dir=str(tmp_path / "packed"), sources=shards))
    assert log(tmp_path / "files") == log(tmp_path / "packed")
    about = [json.loads((tmp_path / f"{name}/environment.json").read_text())["sources"] for name in ("files", "packed")]
    assert about[0]["world"]["records"] == about[1]["world"]["records"]
    assert about[0]["world"]["groups"] == about[1]["world"]["groups"]
    assert len(about[1]["world"]["fingerprint"]) == 16


def loaded_data(recipe) -> RunData:
    return load_data(recipe.sources, recipe.stages)


def test_loading_shards_reads_no_sample(recipe, shards, monkeypatch):
    from skyeye.data.shards.index import ShardSet

    monkeypatch.setattr(ShardSet, "content", lambda *_: pytest.fail("an entry was read"))
    data = loaded_data(load_recipe(recipe(sources=shards)))
    assert len(data.groups["world"]) == data.sources["world"]["groups"] > 0 and data.skipped == []
    with pytest.raises(SkyEyeError, match="sources.world.options: unknown option 'sourc'"):
        loaded_data(load_recipe(recipe(sources={"world": {**shards["world"], "options": {"sourc": "world"}}})))


def test_texts_come_once_and_one_at_a_time(recipe, shards, written):
    groups = loaded_data(load_recipe(recipe())).groups
    packed = loaded_data(load_recipe(recipe(sources=shards))).groups
    texts = list(texts_of(groups, MiniGPTv2()))
    assert texts == list(texts_of(packed, MiniGPTv2())) and len(texts) == len(set(texts))
    turns = [turn for group in groups["world"] for record in group.records for turn in written(record).turns]
    said = {text for turn in turns for text in (turn.question, turn.answer)}
    assert said <= set(texts) <= said | {x.phrase for g in groups["world"] for r in g.records for x in r.regions}


def stages(recipe, **changes):
    content = load_recipe(recipe()).stages[0]
    stage = {"name": "one", "mixture": [{"source": "world"}], "images_per_step": 4, "questions_per_image": 3, **changes}
    return [{**stage, "optimizer": {"lr": 3e-3, "warmup_lr": 1e-3, "warmup_steps": content.optimizer.warmup_steps}}]


def test_epochs_are_steps(recipe, tmp_path):
    path = recipe(output_dir=str(tmp_path / "epochs"), stages=stages(recipe, epochs=1.5))
    size = len(loaded_data(load_recipe(path)).groups["world"])
    steps = math.ceil(1.5 * size / 4)
    train(path)
    train(recipe(output_dir=str(tmp_path / "steps"), stages=stages(recipe, steps=steps)))
    assert log(tmp_path / "epochs") == log(tmp_path / "steps") and len(log(tmp_path / "steps")) == steps


def test_an_epoch_counts_every_image_of_the_mixture_once(recipe):
    mixture = [{"source": "world", "end": 0.5}, {"source": "world", "start": 0.5}, {"source": "world", "weight": 0.0}]
    loaded = load_recipe(recipe(stages=stages(recipe, epochs=2, mixture=mixture)))
    groups = loaded_data(loaded).groups
    assert plan_stages(loaded.stages, groups, 0)[0].steps == math.ceil(2 * len(groups["world"]) / 4)
    asked = [{"source": "world"}, {"source": "world", "tasks": {"refer": 1}}]
    loaded = load_recipe(recipe(stages=stages(recipe, epochs=2, mixture=asked)))
    refer = sum(any(r.task == "refer" for r in group.records) for group in groups["world"])
    assert plan_stages(loaded.stages, groups, 0)[0].steps == math.ceil(2 * (len(groups["world"]) + refer) / 4)


def test_a_warm_up_as_long_as_the_epochs_is_refused(recipe):
    loaded = load_recipe(recipe(stages=stages(recipe, epochs=0.01)))
    with pytest.raises(SkyEyeError, match="stages.one.optimizer.warmup_steps: 1 leaves nothing of 1 steps"):
        plan_stages(loaded.stages, loaded_data(loaded).groups, 0)


def test_quick_takes_a_tenth_of_the_epochs(recipe):
    path = recipe(stages=stages(recipe, epochs=5))
    stage = quick_recipe(load_recipe(path, ["stages.one.optimizer.warmup_steps=25"])).stages[0]
    assert (stage.epochs, stage.steps, stage.optimizer.warmup_steps) == (0.5, None, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "give either steps or epochs .* not none"),
        ({"steps": 3, "epochs": 1}, "give either steps or epochs .* not both"),
        ({"epochs": 0}, "epochs: 0.0 is not above 0"),
        ({"steps": 0}, "steps: 0 is below 1"),
        ({"steps": 9, "sampling": "temperature", "temperature": 0}, "temperature: 0.0 is not above 0"),
        ({"steps": 9, "temperature": 2}, "temperature: 2.0 is only used with sampling: temperature"),
        ({"steps": 9, "sampling": "ratoi"}, "'ratoi' is not allowed; .*did you mean 'ratio'"),
    ],
)
def test_lengths_and_samplings_that_mean_nothing(recipe, changes, words):
    with pytest.raises(RecipeError, match=words):
        load_recipe(recipe(stages=stages(recipe, **changes)))
