"""Runs that are killed, and go on: real processes, real SIGKILL. The end has to be that of a run nobody touched."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest
from processes import run, said
from safetensors.torch import load_file

from skyeye.models.difference import first_difference
from skyeye.train.guards.interrupt import REQUEUE

#: Five steps and a state at every second, and one of the end of each stage: it holds what no export does, the moments.
STEPS = ["stages.0.steps=5", "stages.1.steps=5"]
LAST = "states/single_task-0000005"


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """Folders of uninterrupted runs by strategy, made once each."""
    return tmp_path_factory.mktemp("untouched")


def _whole(untouched: Path, recipe, strategy: str = "single") -> Path:
    folder = untouched / strategy
    if not folder.exists():
        _train(recipe, folder, strategy)
    return folder


def _train(
    recipe, folder: Path, strategy: str = "single", expected: tuple[int, ...] = (0,), settings: tuple = (), **options
) -> list[int]:
    path = recipe(output_dir=str(folder))
    options.setdefault("processes", 1 if strategy == "single" else 2)
    options.setdefault("inject", "injected:share_out_every_parameter")
    codes = run(path, *STEPS, *settings, f"run.strategy={strategy}", **options)
    assert set(codes) & set(expected), f"{codes}:\n{said(path)[-3000:]}"
    return codes


def _same_end(one: Path, other: Path) -> None:
    """Exports of both stages, parameters and optimiser state of the end: bit for bit, and no step logged twice."""
    names = ["checkpoints/pretrain/model.safetensors", "checkpoints/single_task/model.safetensors"]
    for name in (*names, f"{LAST}/parameters.safetensors", f"{LAST}/moments.safetensors"):
        ours, theirs = load_file(one / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if ours[key].numpy().tobytes() != theirs[key].numpy().tobytes()] == [], name
    assert first_difference(one, other) is None
    assert _losses(one) == _losses(other)


def _losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5] * 2
    return [line["loss"] for line in lines]


MOMENTS = {
    "before the first state": "accelerate:Accelerator.backward:2",
    "inside a step": "accelerate:Accelerator.backward:4",
    "between two steps": "skyeye.train.guards.watchdog:Watchdog.beat:7",
    "while a state is written": "skyeye.train.checkpoint.state:save_file:4",
    "before a state gets its name": "skyeye.train.checkpoint.state:_replace:2",
    "while an old state goes": "skyeye.train.checkpoint.state:_remove:1+",
    "between the last state and the export": "skyeye.train.checkpoint.export:export:2",
    "while the model is exported": "transformers:PreTrainedModel.save_pretrained:1+",
    "between two stages": "skyeye.train.stages:make_accelerator:2",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_as_if_nothing_had_happened(recipe, tmp_path, untouched, moment):
    _train(recipe, tmp_path / "killed", die=MOMENTS[moment], expected=(-signal.SIGKILL,))
    _train(recipe, tmp_path / "killed", resume=True)
    _same_end(tmp_path / "killed", _whole(untouched, recipe))


@pytest.mark.parametrize("strategy", ["single", "zero3"])
def test_a_stage_that_lacks_only_its_export_is_not_trained_again(recipe, tmp_path, untouched, strategy):
    folder = tmp_path / "killed"
    _train(recipe, folder, strategy, die="skyeye.train.checkpoint.export:export:1", expected=(-signal.SIGKILL,))
    assert (folder / "states" / "pretrain-0000005").exists() and not (folder / "checkpoints" / "pretrain").exists()
    before = (folder / "log.jsonl").read_text()
    _train(recipe, folder, strategy, resume=True)
    assert "going on after step 5 of stage pretrain" in said(tmp_path / "recipe.yaml")
    assert (folder / "log.jsonl").read_text().startswith(before)  # with the times of the steps as they were
    _same_end(folder, _whole(untouched, recipe, strategy))


def test_behind_the_last_step_there_is_no_longest_pack_to_begin_with(recipe, tmp_path):
    limit = ("run.tokens_per_pack=130",)
    die = {"die": "skyeye.train.checkpoint.export:export:2", "expected": (-signal.SIGKILL,)}
    _train(recipe, tmp_path / "killed", settings=limit, **die)
    _train(recipe, tmp_path / "killed", settings=limit, resume=True)
    assert (tmp_path / "killed" / "checkpoints" / "single_task" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("strategy", "moment", "rank"),
    [
        ("ddp", "inside a step", 1),
        ("ddp", "while a state is written", 0),
        ("zero1", "inside a step", 0),
        pytest.param("zero1", "while a state is written", 0, marks=pytest.mark.slow),
        ("zero2", "inside a step", 1),
        pytest.param("zero2", "before a state gets its name", 0, marks=pytest.mark.slow),
        ("zero3", "inside a step", 0),
        pytest.param("zero3", "while the model is exported", 0, marks=pytest.mark.slow),
    ],
)
def test_a_run_of_two_processes_ends_as_if_nothing_had_happened(recipe, tmp_path, untouched, strategy, moment, rank):
    _train(recipe, tmp_path / "killed", strategy, die=MOMENTS[moment], rank=rank, expected=(-signal.SIGKILL,))
    _train(recipe, tmp_path / "killed", strategy, resume=True)
    _same_end(tmp_path / "killed", _whole(untouched, recipe, strategy))


@pytest.mark.parametrize(
    ("before", "after"), [("zero2", "single"), ("single", "ddp"), ("ddp", "zero3"), ("zero3", "zero2")]
)
def test_another_strategy_goes_on_from_the_same_weights_and_moments(recipe, tmp_path, untouched, before, after):
    _train(
        recipe, tmp_path / "moved", before, die="skyeye.train.checkpoint.state:_replace:1+", expected=(-signal.SIGKILL,)
    )
    assert [path.name for path in (tmp_path / "moved" / "states").glob("[!.]*")] == ["pretrain-0000002"]
    _train(recipe, tmp_path / "moved", after, resume=True)
    assert _losses(tmp_path / "moved") == pytest.approx(_losses(_whole(untouched, recipe)), abs=2e-5)
    changed = json.loads((tmp_path / "moved" / "events.jsonl").read_text().splitlines()[0])
    assert changed["changed"] == [f"run.strategy: {before} -> {after}"]


OPTIONS = {
    "dropout of the adapters": ["model.lora.dropout=0.3"],
    "a feature cache": ["stages.1.feature_cache={folder}-cache"],
    "a moving average": ["stages.1.optimizer.ema_decay=0.5"],
    "packs of limited length": ["run.tokens_per_pack=130"],
    "noise on numbers": ["stages.0.box_token_noise=0.5", "stages.1.box_token_noise=0.5"],
}


@pytest.mark.parametrize(
    ("option", "strategy"), [*((option, "single") for option in OPTIONS), ("dropout of the adapters", "ddp")]
)
def test_a_killed_run_ends_as_if_nothing_had_happened_with(recipe, tmp_path, untouched, option, strategy):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    set_for = {folder: [setting.format(folder=folder) for setting in OPTIONS[option]] for folder in (whole, killed)}
    _train(recipe, whole, strategy, settings=set_for[whole])
    # in the second stage, with its state at step 2, a step after it, and the next one begun
    die = {"die": "skyeye.train.loop:learning_rate:9", "rank": 0, "expected": (-signal.SIGKILL,)}
    _train(recipe, killed, strategy, settings=set_for[killed], **die)
    assert (killed / "states" / "single_task-0000002").exists()
    _train(recipe, killed, strategy, settings=set_for[killed], resume=True)
    _same_end(killed, whole)
    plain = _whole(untouched, recipe, strategy)
    assert (_losses(whole) == _losses(plain)) == (option == "a moving average")  # the others change what is computed
    assert (killed / "checkpoints" / "single_task-ema").exists() == (option == "a moving average")


@pytest.mark.parametrize(
    ("strategy", "processes"),
    [
        ("ddp", (2, 1, 2)),
        pytest.param("zero1", (1, 2), marks=pytest.mark.slow),
        ("zero2", (2, 1)),
        pytest.param("zero3", (1, 2, 1), marks=pytest.mark.slow),
    ],
)
def test_another_number_of_processes_goes_on_with_the_same_samples(recipe, tmp_path, untouched, strategy, processes):
    folder = tmp_path / "moved"
    for number, count in enumerate(processes[:-1]):  # each dies with its first state: at step 2, then at step 4
        die = {"die": "skyeye.train.checkpoint.state:_replace:1+", "expected": (-signal.SIGKILL,)}
        _train(recipe, folder, strategy, processes=count, resume=number > 0, **die)
    _train(recipe, folder, strategy, processes=processes[-1], resume=True)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [event["changed"] for event in events] == [[]] * (len(processes) - 1)
    assert _losses(folder) == pytest.approx(_losses(_whole(untouched, recipe)), abs=2e-5)
    seen = [json.loads((at / "states/single_task-0000005/manifest.json").read_text())["guard"]["seen"]
            for at in (folder, _whole(untouched, recipe))]  # fmt: skip
    assert seen[0] == seen[1] > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("strategy", ["single", "ddp", "zero1", "zero2", "zero3"])
def test_killed_at_twenty_random_moments(recipe, tmp_path, strategy):
    began = time.monotonic()
    _train(recipe, tmp_path / "timed", strategy)
    duration, moments, kills = time.monotonic() - began, random.Random(5), 0
    while kills < 20:
        folder = tmp_path / f"killed-{kills}"
        codes = [-signal.SIGKILL]
        while any(codes):
            rank = 0 if strategy == "single" else moments.randrange(2)
            options = {"resume": folder.exists(), "after": moments.random() * duration, "rank": rank}
            codes = _train(recipe, folder, strategy, expected=(0, -signal.SIGKILL), **options)
            kills += any(codes)
        _same_end(folder, tmp_path / "timed")


@pytest.mark.parametrize(("strategy", "number"), [("single", signal.SIGTERM), ("ddp", signal.SIGUSR1)])
def test_the_batch_system_is_heard_on_all_processes_and_told_to_queue_again(
    recipe, tmp_path, untouched, strategy, number
):
    path = recipe(output_dir=str(tmp_path / "run"))
    processes = 1 if strategy == "single" else 2
    inject = f"injected:{number.name.lower()}_in_third_step"
    codes = run(path, *STEPS, f"run.strategy={strategy}", processes=processes, inject=inject)
    assert codes == [REQUEUE] * processes, said(path)
    assert [path.name for path in (tmp_path / "run" / "states").glob("[!.]*3")] == ["pretrain-0000003"]
    _train(recipe, tmp_path / "run", strategy, resume=True)
    _same_end(tmp_path / "run", _whole(untouched, recipe, strategy))


@pytest.mark.parametrize("strategy", ["single", "ddp"])
def test_a_signal_in_the_export_is_heard_before_the_next_stage(recipe, tmp_path, untouched, strategy):
    path, folder = recipe(output_dir=str(tmp_path / "run")), tmp_path / "run"
    processes = 1 if strategy == "single" else 2
    inject = "injected:sigterm_in_the_first_export"
    codes = run(path, *STEPS, f"run.strategy={strategy}", processes=processes, inject=inject)
    assert codes == [REQUEUE] * processes, said(path)
    assert (folder / "checkpoints" / "pretrain" / "manifest.json").exists()
    assert {line["stage"] for line in map(json.loads, (folder / "log.jsonl").read_text().splitlines())} == {"pretrain"}
    _train(recipe, folder, strategy, resume=True)
    _same_end(folder, _whole(untouched, recipe, strategy))
