"""The lock under which DeepSpeed's code is built and loaded: a killed process does not keep it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from processes import run, said
from torch.utils import cpp_extension

from skyeye.train.build_lock import DyingLock, use_dying_locks

_FORK = multiprocessing.get_context("fork")


def _hold(path: str, held, seconds: float) -> None:
    lock = DyingLock(path)
    assert lock.try_acquire()
    held.set()
    time.sleep(seconds)
    lock.release()
    time.sleep(30)


@pytest.fixture
def holder(tmp_path):
    """A function that starts a process which holds the lock for some seconds; its handle."""
    started = []

    def start(seconds: float):
        held = _FORK.Event()
        started.append(_FORK.Process(target=_hold, args=(str(tmp_path / "lock"), held, seconds)))
        started[-1].start()
        assert held.wait(20)
        return started[-1]

    yield start
    for process in started:
        process.kill()


def test_one_at_a_time_and_the_next_waits_for_its_release(holder, tmp_path):
    holder(1.0)
    lock, began = DyingLock(str(tmp_path / "lock")), time.monotonic()
    assert not lock.try_acquire()
    lock.wait()
    assert 0.3 < time.monotonic() - began < 20
    assert DyingLock(str(tmp_path / "lock")).try_acquire()


def test_a_killed_process_does_not_keep_it(holder, tmp_path):
    process = holder(1000.0)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (tmp_path / "lock").touch()  # what torch's own lock leaves behind
    assert DyingLock(str(tmp_path / "lock")).try_acquire()


def test_torch_asks_for_it(monkeypatch):
    monkeypatch.setattr(cpp_extension, "FileBaton", None)
    use_dying_locks()
    assert cpp_extension.FileBaton is DyingLock


@pytest.fixture
def no_lock_left():
    """Should the test below fail, torch's own lock would stop every further run of this machine."""
    lock = Path(cpp_extension._get_build_directory("deepspeed_shm_comm", False)) / "lock"
    before = lock.exists()
    yield
    if lock.exists() and not before:
        lock.unlink()


def test_a_run_loads_deepspeed_under_it(recipe, no_lock_left, tmp_path):
    """The process kills itself while it holds the lock; the next run begins all the same."""
    settings = ["run.strategy=zero2", "stages.0.steps=2", "stages.1.steps=2"]
    die = "torch.utils.cpp_extension:_write_ninja_file_and_build_library:1"
    for attempt in range(5):  # a run that has to wait for another test's lock builds nothing, and lives
        path = recipe(output_dir=str(tmp_path / f"run-{attempt}"))
        codes = run(path, *settings, die=die)
        if codes != [0]:
            break
    assert codes == [-signal.SIGKILL], said(path)[-3000:]
    assert run(path, *settings, resume=True) == [0], said(path)[-3000:]
