"""Each guard is shown by a fault that is put into a run."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from processes import run, said
from safetensors.torch import load_file

from skyeye.config.load import load_recipe
from skyeye.config.schema import GuardsConfig
from skyeye.data.packing import nothing_to_learn, pack_step, usable
from skyeye.data.record import Group, Turn
from skyeye.data.sequence import IGNORE_INDEX, SequenceBuilder
from skyeye.models.difference import first_difference
from skyeye.train.guards.guards import Guard, Rewind
from skyeye.train.guards.interrupt import REQUEUE
from skyeye.train.guards.watchdog import HUNG
from skyeye.train.loader import StepDivision, StepPacks
from skyeye.train.setup import prepare_model, setup_run

ONE_STAGE = ["stages.0.steps=9", "stages.1.steps=2", "run.keep_states=9"]


def _events(folder: Path, name: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == name]


def _train(recipe, tmp_path: Path, *overrides: str, strategy: str = "single", code: int = 0, **options) -> Path:
    folder = tmp_path / options.pop("name", "run")
    path = recipe(output_dir=str(folder))
    options.setdefault("processes", 1 if strategy == "single" else 2)
    codes = run(path, *ONE_STAGE, f"run.strategy={strategy}", *overrides, **options)
    # of a process that is killed, the others may notice first
    assert set(codes) == {code} or (code == -9 and code in codes), f"{codes}\n{said(path)[-3000:]}"
    return folder


@pytest.mark.parametrize("strategy", ["single", "ddp", "zero1", "zero2", "zero3"])
def test_a_step_with_a_loss_that_is_not_finite_changes_nothing(recipe, tmp_path, strategy):
    folder = _train(recipe, tmp_path, "stages.0.steps=3", "run.checkpoint_every=1",
                    strategy=strategy, inject="injected:nan_in_second_step")  # fmt: skip
    held = _events(folder, "held back")
    assert [(event["stage"], event["step"]) for event in held] == [("pretrain", 2), ("single_task", 2)]
    ranks = held[0]["ranks"]
    assert [rank["rank"] for rank in ranks] == list(range(1 if strategy == "single" else 2))
    assert ranks[-1]["loss"] != ranks[-1]["loss"] and all(rank["samples"] for rank in ranks)
    before, after = (folder / "states" / f"pretrain-{step:07d}" for step in (1, 2))
    assert before.exists() and not after.exists()  # no state is saved in trouble
    last = json.loads((folder / "checkpoints" / "pretrain" / "manifest.json").read_text())
    assert last["step"] == 3
    weights = load_file(folder / "checkpoints" / "pretrain" / "model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


@pytest.mark.parametrize("strategy", ["single", "zero2", "zero3"])
@pytest.mark.parametrize("what", ["loss", "gradient norm"])
def test_a_spike_is_held_back(recipe, tmp_path, strategy, what):
    inject = "injected:spike_in_fourth_step" if what == "loss" else "injected:spike_of_the_gradient_in_fourth_step"
    folder = _train(recipe, tmp_path, "stages.0.steps=7", "run.checkpoint_every=2", "run.guards.window=3",
                    strategy=strategy, inject=inject)  # fmt: skip
    (held,) = _events(folder, "held back")
    assert held["step"] == 4 and f"the {what}" in held["reason"] and "the median of 3 steps" in held["reason"]
    state = json.loads((folder / "states" / "pretrain-0000006" / "manifest.json").read_text())
    assert set(state["optimizer_steps"].values()) == {5.0}  # six steps, one of which changed nothing


@pytest.mark.parametrize("strategy", ["single", "zero2"])
def test_after_too_many_the_run_goes_back_and_passes_over_the_window(recipe, tmp_path, strategy):
    settings = ["run.guards.patience=2", "run.guards.lead=1", "run.checkpoint_every=2"]
    inject = "injected:nan_in_steps_five_and_six"
    folder = _train(recipe, tmp_path, *settings, strategy=strategy, inject=inject)
    (back,) = _events(folder, "went back")
    assert back["state"] == "pretrain-0000002" and back["skipped"] == [3, 5]  # counted from 0
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["stage"] == "pretrain"] == [1, 2, 3, 7, 8, 9]
    state = json.loads((folder / "states" / "pretrain-0000008" / "manifest.json").read_text())
    assert set(state["optimizer_steps"].values()) == {5.0}  # steps 1, 2, 3, 7 and 8
    assert state["guard"]["skipped"] == [[3, 5]]

    # killed when the state after the window is there, and gone on: nothing is different
    killed = _train(recipe, tmp_path, *settings, strategy=strategy, inject=inject, name="killed",
                    die="skyeye.train.checkpoint.state:_replace:3+", code=-9)  # fmt: skip
    assert (killed / "states" / "pretrain-0000008").exists()
    _train(recipe, tmp_path, *settings, strategy=strategy, inject=inject, name="killed", resume=True)
    for stage in ("pretrain", "single_task"):
        ours, theirs = (load_file(f / "checkpoints" / stage / "model.safetensors") for f in (folder, killed))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("strategy", "inject", "skipped", "steps"),
    [  # skipped: counted from 0; steps of the log: from 1
        ("single", "nan_in_two_windows", [[3, 5], [8, 10]], [1, 2, 3, 7, 8, 12, 13, 14]),
        ("zero3", "nan_in_two_windows", [[3, 5], [8, 10]], [1, 2, 3, 7, 8, 12, 13, 14]),
        # the second trouble begins right behind the first window: back to the same state
        ("single", "nan_in_windows_that_touch", [[3, 5], [5, 7]], [1, 2, 3, 9, 10, 11, 12, 13, 14]),
    ],
)
def test_a_run_goes_back_twice(recipe, tmp_path, strategy, inject, skipped, steps):
    settings = ["run.guards.patience=2", "run.guards.lead=1", "run.checkpoint_every=2", "stages.0.steps=14"]
    options = {"strategy": strategy, "inject": f"injected:{inject}"}
    folder = _train(recipe, tmp_path, *settings, **options)
    assert [event["skipped"] for event in _events(folder, "went back")] == skipped
    assert not _events(folder, "stopped")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["stage"] == "pretrain"] == steps
    state = json.loads((folder / "states" / "pretrain-0000014" / "manifest.json").read_text())
    assert set(state["optimizer_steps"].values()) == {len(steps)} and state["guard"]["skipped"] == skipped

    # killed when it goes back for the second time, and gone on: nothing is different
    killed = _train(recipe, tmp_path, *settings, **options, name="killed",
                    die="skyeye.train.guards.rewind:drop_states_after:2+", code=-9)  # fmt: skip
    _train(recipe, tmp_path, *settings, **options, name="killed", resume=True)
    assert first_difference(folder, killed) is None

    stopped = _train(recipe, tmp_path, *settings, "run.guards.max_rewinds=1", **options, name="stopped", code=2)
    assert "after the run had gone back 1 times" in said(tmp_path / "recipe.yaml")
    assert len(_events(stopped, "went back")) == len(_events(stopped, "stopped")) == 1


@pytest.mark.parametrize("strategy", ["single", "zero2"])
def test_a_run_does_not_go_back_to_a_damaged_state(recipe, tmp_path, strategy):
    settings = ["run.guards.patience=2", "run.guards.lead=0", "run.checkpoint_every=1"]
    inject = "injected:nan_with_the_newest_state_damaged"
    folder = _train(recipe, tmp_path, *settings, strategy=strategy, inject=inject)
    assert "pretrain-0000004: parameters.safetensors damaged; the state is skipped" in said(tmp_path / "recipe.yaml")
    (back,) = _events(folder, "went back")
    assert back["state"] == "pretrain-0000003" and back["skipped"] == [4, 5]
    assert folder.joinpath("checkpoints", "single_task", "manifest.json").exists()
    whole = _train(recipe, tmp_path, *settings, strategy=strategy, inject="injected:nan_in_steps_five_and_six",
                   name="whole")  # fmt: skip
    assert _events(whole, "went back")[0]["state"] == "pretrain-0000004"
    assert first_difference(folder, whole) is None  # the fourth step was done again


def test_without_a_sound_state_to_go_back_to_the_run_stops(recipe, tmp_path):
    settings = ["run.guards.patience=2", "run.guards.lead=0", "run.checkpoint_every=2"]
    _train(recipe, tmp_path, *settings, inject="injected:nan_with_every_state_damaged", code=2)
    words = said(tmp_path / "recipe.yaml")
    assert "no earlier state to go back to" in words and "Traceback" not in words


def test_all_processes_go_back_to_the_state_that_the_first_one_chose(recipe, tmp_path):
    settings = ["run.guards.patience=2", "run.guards.lead=2", "run.checkpoint_every=1"]
    inject = "injected:nan_and_states_that_go_while_they_are_listed"
    folder = _train(recipe, tmp_path, *settings, strategy="ddp", inject=inject)
    (back,) = _events(folder, "went back")
    assert back["state"] == "pretrain-0000002"


def test_a_state_from_before_the_trouble_stays_when_a_signal_comes_in_it(recipe, tmp_path):
    settings = ["run.guards.patience=3", "run.guards.lead=0", "run.checkpoint_every=2", "run.keep_states=1"]
    inject = "injected:nan_from_the_third_step_and_sigterm_in_the_fourth"
    folder = _train(recipe, tmp_path, *settings, "stages.0.steps=8", inject=inject, code=REQUEUE)
    assert sorted(path.name for path in (folder / "states").iterdir()) == ["pretrain-0000002", "pretrain-0000004"]
    _train(recipe, tmp_path, *settings, "stages.0.steps=8", inject="injected:nan_in_steps_five_and_six", resume=True)
    (back,) = _events(folder, "went back")  # after the fifth: it began with the third
    assert back["state"] == "pretrain-0000002" and back["skipped"] == [2, 4]


class _Scaled:
    """A process alone, with a loss scale of fp16."""

    scaler = SimpleNamespace(get_scale=lambda: 1024.0)
    distributed_type, is_main_process, process_index, num_processes = DistributedType.NO, True, 0, 1

    def reduce(self, tensor, how):
        return tensor


def test_an_overflow_moves_nothing_and_ends_no_trouble(tmp_path):
    guard = Guard(_Scaled(), GuardsConfig(patience=3, lead=0), tmp_path, "s")
    guard.watch(SimpleNamespace(optimizer=None))
    moved = []
    steps = [(1.0, 1.0), (math.nan, 1.0), (1.0, math.inf), (math.nan, 1.0), (1.0, math.inf), (math.nan, 1.0)]
    with pytest.raises(Rewind) as rewind:
        for step, (loss, norm) in enumerate(steps):
            guard.losses(torch.tensor(loss))
            guard.norm(norm)
            guard.finish(step, ["a"])
            moved.append((guard.moved, list(guard.streak)))
    assert moved == [(True, []), (False, [1]), (False, [1]), (False, [1, 3]), (False, [1, 3])]
    assert not guard.moved and (rewind.value.first, rewind.value.last) == (1, 5)
    assert len(_events(tmp_path, "overflow")) == 2
    guard.losses(torch.tensor(1.0))
    guard.norm(1.0)
    guard.finish(6, ["a"])
    assert guard.moved and guard.streak == []


def test_a_run_that_went_back_too_often_stops_and_says_why(recipe, tmp_path):
    settings = ["run.guards.patience=2", "run.guards.max_rewinds=0", "run.checkpoint_every=2"]
    folder = _train(recipe, tmp_path, *settings, inject="injected:nan_in_steps_five_and_six", code=2)
    assert "2 updates in a row were held back (the loss is nan)" in said(tmp_path / "recipe.yaml")
    assert _events(folder, "stopped")


def test_without_a_state_to_go_back_to_the_run_stops(recipe, tmp_path):
    settings = ["run.guards.patience=2", "run.checkpoint_every=100"]
    _train(recipe, tmp_path, *settings, inject="injected:nan_in_steps_five_and_six", code=2)
    assert "no earlier state to go back to" in said(tmp_path / "recipe.yaml")


# ---------------------------------------------------------------------- data


@pytest.fixture
def broken_world(world, tmp_path):
    return shutil.copytree(world, tmp_path / "broken")


def _packs(recipe_path: Path, world: int = 2, rank: int = 0, budget: int | None = None, **prompt) -> StepPacks:
    overrides = [f"model.prompt.{key}={value}" for key, value in prompt.items()]
    loaded = load_recipe(recipe_path, overrides)
    setup = setup_run(loaded)
    model, processor = prepare_model(setup)
    return StepPacks(
        setup.mixture(setup.stages[0]),
        SequenceBuilder(processor.tokenizer, loaded.model.prompt, model.config.tokens_per_image),
        loaded.model.vision,
        StepDivision(images_per_step=4, accumulation=1, rank=rank, world=world, budget=budget),
        steps=4,
    )


def test_nothing_is_learnt_from_a_broken_image_and_the_others_are_untouched(recipe, broken_world):
    path = recipe(sources={"world": {"format": "synthetic", "path": str(broken_world)}})
    datasets = [_packs(path, rank=rank) for rank in (0, 1)]
    whole = [dataset[0] for dataset in datasets]
    image = datasets[0]._sequences(0)[0][0].images[0]
    Path(image).write_bytes(b"no image")
    for dataset in datasets:
        dataset._load._pixels.clear()
    after = [dataset[0] for dataset in datasets]
    problems = [problem for step in after for problem in step.problems]
    assert problems and all(Path(image).name in what for _, what in problems)
    assert [step.samples for step in after] == [step.samples for step in whole]  # who computes what stays
    lost = 0
    for old, new in ((a, b) for x, y in zip(whole, after, strict=True) for a, b in zip(x.packs, y.packs, strict=True)):
        assert torch.equal(old["input_ids"], new["input_ids"])
        changed = old["labels"] != new["labels"]
        assert (new["labels"][changed] == IGNORE_INDEX).all()
        for group in old["group_ids"].unique():  # whole groups or nothing
            places = (old["group_ids"] == group) & (old["labels"] != IGNORE_INDEX)
            assert changed[places].all() or not changed[places].any()
            lost += int(changed[places].any())
        assert int(new["samples"]) == int(old["samples"]) - int(new["broken"])
    assert lost >= 1  # the group of the broken image, in one piece or in two
    assert sum(int(pack["broken"]) for step in after for pack in step.packs) == len(problems)


@pytest.mark.parametrize("strategy", ["single", "zero3"])
def test_a_broken_image_is_listed_and_the_run_goes_on(recipe, broken_world, tmp_path, strategy):
    for image in sorted((broken_world / "images").iterdir())[:3]:
        image.write_bytes(image.read_bytes()[:200])
    settings = [f"sources.world.path={broken_world}", "run.guards.max_broken=0.5", "stages.0.steps=4"]
    folder = _train(recipe, tmp_path, *settings, strategy=strategy)
    broken = _events(folder, "broken")
    assert broken and all("broken/images/" in event["problem"] and event["sample"] for event in broken)
    strict = [*settings, "run.guards.max_broken=0"]
    _train(recipe, tmp_path, *strict, strategy=strategy, name="strict", code=2)
    assert "samples are broken" in said(tmp_path / "recipe.yaml")


def test_a_sample_that_is_too_long_is_skipped_by_all_processes_alike(recipe):
    sequences, none = _packs(recipe())._sequences(0)
    assert none == []
    budget = sorted(len(s.prefix_ids) + len(b.input_ids) for s in sequences for b in s.branches)[-3]
    steps = [_packs(recipe(), rank=rank, budget=budget)[0] for rank in (0, 1)]
    long = [b.record.id for s in sequences for b in s.branches if len(s.prefix_ids) + len(b.input_ids) > budget]
    assert long and sorted(sample for sample, _ in steps[0].problems) == sorted(long)
    assert steps[1].problems == []  # counted once
    assert "longer than a pack" in steps[0].problems[0][1]
    kept = sorted(b.record.id for s in sequences for b in s.branches if b.record.id not in long)
    assert sorted(steps[0].samples + steps[1].samples) == kept


def test_a_record_that_leaves_nothing_to_learn_takes_no_other_with_it(recipe):
    dataset = _packs(recipe())
    group = dataset.mixture.draw(0)
    assert len(group.records) == 3
    first = group.records[0]
    empty = dataclasses.replace(first, id="empty", turns=(Turn(first.turns[0].question, " "),))
    sequence, problems = usable(dataset.builder, Group(group.images, (empty, *group.records[1:])))
    assert [branch.record.id for branch in sequence.branches] == [record.id for record in group.records[1:]]
    ((sample, what),) = problems
    assert sample == "empty" and "the answer of turn 1 is empty" in what
    assert usable(dataset.builder, Group(group.images, (empty,)))[0] is None


def test_a_process_without_samples_gets_something_to_compute():
    packs = pack_step([nothing_to_learn(3) for _ in range(3)], processes=3)
    assert [len(packs[rank][0]) for rank in range(3)] == [1, 1, 1]
    assert set(packs[0][0][0].branches[0].labels) == {IGNORE_INDEX}


@pytest.mark.parametrize("strategy", ["single", "ddp"])
def test_a_step_without_anything_to_learn_is_no_accident(recipe, broken_world, tmp_path, strategy):
    for image in (broken_world / "images").iterdir():
        image.write_bytes(b"")
    settings = [f"sources.world.path={broken_world}", "run.guards.max_broken=1", "stages.0.steps=2"]
    folder = _train(recipe, tmp_path, *settings, strategy=strategy)
    assert not _events(folder, "held back")
    losses = [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 4 and set(losses) == {0.0}


# ---------------------------------------------------------------------- hangs


def test_a_hang_leaves_the_stack_of_every_rank(recipe, tmp_path):
    settings = ["run.guards.hang_seconds=120", "run.guards.hang_abort=true"]
    folder = _train(recipe, tmp_path, *settings, strategy="ddp", inject="injected:hang_in_third_step", code=HUNG)
    assert "injected.py" in (folder / "stacks" / "rank-1.txt").read_text()
    assert "loop.py" in (folder / "stacks" / "rank-0.txt").read_text()
