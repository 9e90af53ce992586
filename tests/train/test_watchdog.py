"""What counts as a hang: also the end of a stage, and not answers that take their time."""

from __future__ import annotations

import threading
import time

import pytest
from processes import run, said

from skyeye.train import watchdog as module
from skyeye.train.watchdog import HUNG, Watchdog

LIMIT = ["run.guards.hang_seconds=3", "run.guards.hang_abort=true", "stages.0.steps=2", "stages.1.steps=2"]


@pytest.fixture
def ended(monkeypatch) -> threading.Event:
    """Set where the process would be ended."""
    event = threading.Event()
    monkeypatch.setattr(module.os, "_exit", lambda code: event.set() if code == HUNG else None)
    return event


def test_while_it_rests_nothing_is_expected_and_after_it_again(tmp_path):
    with Watchdog(tmp_path, rank=0, seconds=0.2) as watchdog:
        watchdog.rest()
        time.sleep(0.6)
        assert not (tmp_path / "stacks").exists()
        watchdog.beat()
        time.sleep(0.6)
    assert (tmp_path / "stacks" / "rank-0.txt").read_text().count("no step for") == 1


def test_stacks_that_cannot_be_written_go_to_the_terminal_and_the_process_ends_all_the_same(tmp_path, ended, capfd):
    (tmp_path / "stacks").write_text("no folder")
    with Watchdog(tmp_path, rank=2, seconds=0.2, abort=True):
        assert ended.wait(10)
    told = capfd.readouterr()
    assert "cannot be written" in told.out and "rank 2: no step finished" in told.out
    assert "test_stacks_that_cannot_be_written" in told.err


def test_without_a_terminal_the_process_ends_all_the_same(tmp_path, ended, monkeypatch):
    def closed(*_, **__):
        raise OSError("the terminal is gone")

    monkeypatch.setattr(module, "print", closed, raising=False)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with Watchdog(tmp_path, rank=0, seconds=0.2, abort=True):
        assert ended.wait(10)


@pytest.mark.parametrize("strategy", ["single", "ddp"])
def test_answers_may_take_longer_than_a_hang(recipe, tmp_path, strategy):
    processes = 1 if strategy == "single" else 2
    settings = [*LIMIT, f"run.strategy={strategy}", "run.samples_every=2", "run.samples=1"]
    path = recipe()
    assert run(path, *settings, processes=processes, inject="injected:slow_answers") == [0] * processes, said(path)
    assert not (tmp_path / "run" / "stacks").exists()


def test_benchmarks_may_take_longer_than_a_hang(recipe, world, tmp_path):
    settings = [*LIMIT, "run.strategy=ddp", f"eval.data_root={world}", "eval.benchmarks=[world.vqa]", "eval.every=2"]
    settings += ["eval.every_limit=4", "eval.batch_size=4"]
    path = recipe()
    assert run(path, *settings, processes=2, inject="injected:slow_benchmarks") == [0, 0], said(path)
    assert not (tmp_path / "run" / "stacks").exists()


@pytest.mark.parametrize("place", ["state", "export"])
def test_a_hang_behind_the_last_step_leaves_the_stack_of_every_rank(recipe, tmp_path, place):
    inject = "injected:hang_in_the_last_state" if place == "state" else "injected:hang_in_the_export"
    path = recipe()
    codes = run(path, *LIMIT, "run.strategy=ddp", "run.checkpoint_every=9", processes=2, inject=inject, timeout=60)
    assert codes == [HUNG, HUNG], said(path)
    assert "injected.py" in (tmp_path / "run" / "stacks" / "rank-1.txt").read_text()
    assert "state.py" in (tmp_path / "run" / "stacks" / "rank-0.txt").read_text()
