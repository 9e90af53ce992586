"""What a run is made of, read from its recipe once."""

from __future__ import annotations

import torch

from skyeye.config.load import load_recipe
from skyeye.config.schema import PromptConfig, SourceConfig
from skyeye.data.groups import GroupList
from skyeye.data.record import Record, Turn
from skyeye.train.setup import (
    LIBRARIES,
    PlannedStage,
    library_versions,
    never_trained,
    prepare_model,
    remarks,
    setup_run,
)

EPOCHS = ["stages.1.steps=null", "stages.1.epochs=2"]


def test_every_stage_has_its_place_and_a_number_of_steps(recipe):
    setup = setup_run(load_recipe(recipe(), EPOCHS))
    images = len(setup.data.groups["world"])
    assert [(stage.number, stage.name, stage.steps) for stage in setup.stages] == [
        (0, "pretrain", 4),
        (1, "single_task", -(-2 * images // 4)),
    ]
    assert all(isinstance(stage.steps, int) and stage.seed == 7 for stage in setup.stages)
    assert setup.stages[1].settings.epochs == 2  # the recipe's section stays what it was


def test_a_planned_stage_says_what_is_trained(recipe):
    stages = setup_run(load_recipe(recipe())).stages
    assert stages[0].trained == {"vision": "full", "projector": "full", "language": "full"}
    assert stages[1].trained == {"vision": "frozen", "projector": "full", "language": "lora"}


def test_the_mixture_is_as_long_as_the_stage(recipe):
    setup = setup_run(load_recipe(recipe(), EPOCHS))
    for stage in setup.stages:
        mixture = setup.mixture(stage)
        assert len(mixture) == stage.steps * stage.settings.images_per_step
        again = PlannedStage(stage.number, stage.settings, stage.steps, stage.seed).mixture(setup.data.groups)
        assert [mixture.draw(n) for n in range(5)] == [again.draw(n) for n in range(5)]
    other = PlannedStage(0, setup.stages[0].settings, 4, seed=8).mixture(setup.data.groups)
    first = setup.mixture(setup.stages[0])
    assert [other.draw(n).images for n in range(9)] != [first.draw(n).images for n in range(9)]


def test_the_objective_is_that_of_the_section(recipe):
    settings = [
        "stages.0.alignment={words: 0.5, boxes: 0.25}",
        "stages.0.box_token_smoothing=2.0",
        "stages.0.box_token_noise=0.5",
    ]
    setup = setup_run(load_recipe(recipe(), settings))
    model, processor = prepare_model(setup)
    first, second = setup.stages
    objective = first.objective(model, processor.box_token_ids)
    assert objective.model is model and objective.region_reader is not None and objective.phrase_reader is None
    assert (objective.answers, objective.box_token_smoothing, objective.box_token_noise) == (True, 2.0, 0.5)
    assert all(p.requires_grad for p in model.vision_tower.parameters())
    plain = second.objective(model, processor.box_token_ids)
    assert plain.region_reader is None and plain.box_token_noise == 0
    assert not any(p.requires_grad for p in model.vision_tower.parameters())


def test_the_weights_are_a_function_of_the_seed(recipe):
    setup = setup_run(load_recipe(recipe()))
    torch.rand(3)
    one = prepare_model(setup)[0].state_dict()
    other = prepare_model(setup)[0].state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_manifest_says_what_the_numbers_depend_on(recipe):
    setup = setup_run(load_recipe(recipe()))
    about = setup.manifest
    assert about["seed"] == 7 and about["versions"] == library_versions() and set(about["versions"]) == set(LIBRARIES)
    world = about["sources"]["world"]
    assert world["groups"] == len(setup.data.groups["world"]) and world["skipped"] == len(setup.data.skipped) == 0


def test_a_fingerprint_changes_with_every_text():
    record = Record("1", "s", "vqa", "train", (), (Turn("a", "b"),))
    others = [
        Record("2", "s", "vqa", "train", (), record.turns),
        Record("1", "s", "vqa", "train", (), (Turn("a", "c"),)),
    ]
    assert len({GroupList([r]).fingerprint for r in (record, *others)}) == 3


def test_parts_that_no_stage_trains_in_full(recipe):
    stages = load_recipe(recipe()).stages
    assert never_trained(stages) == [] and never_trained(stages[1:]) == ["vision", "language"]


def test_rows_of_evaluation_and_words_of_the_system_are_told():
    turns = [Turn("q", "a"), Turn("q", "a", system="Be brief.")]
    records = [Record(str(n), "s", "vqa", "test" if n else "train", (f"{n}.png",), (turns[n % 2],)) for n in range(5)]
    sources = {"mine": SourceConfig("jsonl", "my.jsonl"), "held": SourceConfig("jsonl", "my.jsonl", split="test")}
    told = list(remarks(PromptConfig(), sources, {"mine": GroupList(records), "held": GroupList(records[1:])}))
    assert told[0] == (
        "source mine: 4 of 5 samples are of split test and are trained on;"
        " set sources.mine.split: train to leave them out"
    )
    assert [line.split(" samples")[0] for line in told[1:]] == [
        "source mine: what the system says before 2",
        "source held: what the system says before 2",
    ]
    assert "minigpt_v2" in told[1]
    assert len(list(remarks(PromptConfig(style="chat_template"), sources, {"held": GroupList(records[1:])}))) == 0
