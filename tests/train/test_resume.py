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

from skyeye.train.interrupt import REQUEUE

#: Five steps and a state at every second: the last state of a run holds optimiser state that nothing comes after.
STEPS = ["stages.0.steps=5", "stages.1.steps=5"]
LAST = "states/single_task-0000004"


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """Folders of uninterrupted runs by strategy, made once each."""
    return tmp_path_factory.mktemp("untouched")


def _whole(untouched: Path, recipe, strategy: str = "single") -> Path:
    folder = untouched / strategy
    if not folder.exists():
        _train(recipe, folder, strategy)
    return folder


def _train(recipe, folder: Path, strategy: str = "single", expected: tuple[int, ...] = (0,), **options) -> list[int]:
    path = recipe(output_dir=str(folder))
    options.setdefault("processes", 1 if strategy == "single" else 2)
    options.setdefault("inject", "injected:share_out_every_parameter")
    codes = run(path, *STEPS, f"run.strategy={strategy}", **options)
    assert set(codes) & set(expected), f"{codes}:\n{said(path)[-3000:]}"
    return codes


def _same_end(one: Path, other: Path) -> None:
    """Exports of both stages, last optimiser state and parameters: bit for bit, and no step logged twice."""
    names = ["checkpoints/pretrain/model.safetensors", "checkpoints/single_task/model.safetensors"]
    for name in (*names, f"{LAST}/parameters.safetensors", f"{LAST}/moments.safetensors"):
        ours, theirs = load_file(one / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if ours[key].numpy().tobytes() != theirs[key].numpy().tobytes()] == [], name
    assert _losses(one) == _losses(other)


def _losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5] * 2
    return [line["loss"] for line in lines]


MOMENTS = {
    "before the first state": "accelerate:Accelerator.backward:2",
    "inside a step": "accelerate:Accelerator.backward:4",
    "between two steps": "skyeye.train.watchdog:Watchdog.beat:7",
    "while a state is written": "skyeye.train.state:save_file:4",
    "before a state gets its name": "skyeye.train.state:_replace:2",
    "while an old state goes": "skyeye.train.state:_remove:1+",
    "while the model is exported": "transformers:PreTrainedModel.save_pretrained:1+",
    "between two stages": "skyeye.train.stages:make_accelerator:2",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_as_if_nothing_had_happened(recipe, tmp_path, untouched, moment):
    _train(recipe, tmp_path / "killed", die=MOMENTS[moment], expected=(-signal.SIGKILL,))
    _train(recipe, tmp_path / "killed", resume=True)
    _same_end(tmp_path / "killed", _whole(untouched, recipe))


@pytest.mark.parametrize(
    ("strategy", "moment", "rank"),
    [
        ("ddp", "inside a step", 1),
        ("ddp", "while a state is written", 0),
        ("zero2", "inside a step", 1),
        ("zero2", "before a state gets its name", 0),
        ("zero3", "inside a step", 0),
        ("zero3", "while the model is exported", 0),
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
    _train(recipe, tmp_path / "moved", before, die="skyeye.train.state:_replace:1+", expected=(-signal.SIGKILL,))
    assert [path.name for path in (tmp_path / "moved" / "states").glob("[!.]*")] == ["pretrain-0000002"]
    _train(recipe, tmp_path / "moved", after, resume=True)
    assert _losses(tmp_path / "moved") == pytest.approx(_losses(_whole(untouched, recipe)), abs=2e-5)
    changed = json.loads((tmp_path / "moved" / "events.jsonl").read_text().splitlines()[0])
    assert changed["changed"] == [f"run.strategy: {before} -> {after}"]


@pytest.mark.slow
def test_killed_at_twenty_random_moments(recipe, tmp_path):
    began = time.monotonic()
    _train(recipe, tmp_path / "timed")
    duration, moments, kills = time.monotonic() - began, random.Random(5), 0
    while kills < 20:
        folder = tmp_path / f"killed-{kills}"
        done = False
        while not done:
            options = {"resume": folder.exists(), "after": moments.random() * duration}
            done = _train(recipe, folder, expected=(0, -signal.SIGKILL), **options) == [0]
            kills += not done
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
