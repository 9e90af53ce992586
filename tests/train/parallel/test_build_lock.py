"""The lock under which DeepSpeed's code is built and loaded: a killed process does not keep it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from processes import HANGS, run, said
from torch.utils import cpp_extension

from skyeye.train.parallel import build_lock
from skyeye.train.parallel.build_lock import DyingLock, build_safely

_FORK = multiprocessing.get_context("fork")


def _hold(path: str, held, let_go) -> None:
    lock = DyingLock(path)
    assert lock.try_acquire()
    held.set()
    let_go.wait()
    lock.release()
    time.sleep(HANGS)


@pytest.fixture
def holder(tmp_path):
    """A function that starts a process which holds the lock; its handle, and what makes it let go."""
    started = []

    def start():
        held, let_go = _FORK.Event(), _FORK.Event()
        started.append(_FORK.Process(target=_hold, args=(str(tmp_path / "lock"), held, let_go)))
        started[-1].start()
        assert held.wait(HANGS)
        return started[-1], let_go

    yield start
    for process in started:
        process.kill()


def test_one_at_a_time_and_the_next_waits_for_its_release(holder, tmp_path):
    _, let_go = holder()
    lock = DyingLock(str(tmp_path / "lock"))
    assert not lock.try_acquire()
    threading.Timer(0.5, let_go.set).start()
    lock.wait()
    assert let_go.is_set()
    assert DyingLock(str(tmp_path / "lock")).try_acquire()


def test_a_killed_process_does_not_keep_it(holder, tmp_path):
    process, _ = holder()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (tmp_path / "lock").touch()  # what torch's own lock leaves behind
    assert DyingLock(str(tmp_path / "lock")).try_acquire()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_the_file_system_has_no_such_lock_torchs_own_is_taken_and_told_once(monkeypatch, tmp_path, capfd, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(build_lock.fcntl, "flock", refuse)
    monkeypatch.setattr(DyingLock, "told", False)
    path = tmp_path / "lock"
    first, second = DyingLock(str(path)), DyingLock(str(path))
    assert first.try_acquire() and path.exists()
    assert not second.try_acquire()
    first.release()
    assert not path.exists()
    second.wait()  # it is free: at once
    assert second.try_acquire()
    told = capfd.readouterr().out
    assert told.count("cannot lock") == 1 and str(path) in told


def test_other_errors_of_the_lock_are_errors(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(build_lock.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken"):
        DyingLock(str(tmp_path / "lock")).try_acquire()


@pytest.fixture
def no_folder_set(monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "")  # so that it is put back behind the test
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")


def test_torch_asks_for_it(monkeypatch, no_folder_set):
    monkeypatch.setattr(cpp_extension, "FileBaton", None)
    build_safely()
    assert cpp_extension.FileBaton is DyingLock


def test_each_environment_and_each_torch_builds_in_a_folder_of_its_own(monkeypatch, no_folder_set, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = []
    for prefix, version in (
        ("/one", "2.9.0+cpu"),
        ("/two", "2.9.0+cpu"),
        ("/one", "2.9.0+cu126"),
        ("/one", "2.9.0+cpu"),
    ):
        monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
        monkeypatch.setattr(sys, "prefix", prefix)
        monkeypatch.setattr(torch, "__version__", version)
        build_safely()
        folders.append(cpp_extension._get_build_directory("skyeye_nothing", False))
    assert len(set(folders)) == 3 and folders[0] == folders[3]
    assert all(folder.startswith(str(tmp_path / "torch_extensions")) for folder in folders)


def test_a_folder_that_the_user_named_is_left(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    build_safely()
    assert os.environ["TORCH_EXTENSIONS_DIR"] == str(tmp_path)


@pytest.fixture
def no_lock_left(no_folder_set):
    """Should the test below fail, torch's own lock would stop every further run of this machine."""
    build_safely()
    lock = Path(cpp_extension._get_build_directory("deepspeed_shm_comm", False)) / "lock"
    before = lock.exists()
    yield
    if lock.exists() and not before:
        lock.unlink()


def test_a_run_loads_deepspeed_under_it(recipe, no_lock_left, tmp_path):
    """The process kills itself while it holds the lock; the next run begins all the same.

    In a fresh environment it compiles the extension there, once for all tests: a minute or more.
    """
    settings = ["run.strategy=zero2", "stages.0.steps=2", "stages.1.steps=2"]
    die = "torch.utils.cpp_extension:_write_ninja_file_and_build_library:1"
    for attempt in range(5):  # a run that has to wait for another test's lock builds nothing, and lives
        path = recipe(output_dir=str(tmp_path / f"run-{attempt}"))
        codes = run(path, *settings, die=die)
        if codes != [0]:
            break
    assert codes == [-signal.SIGKILL], said(path)[-3000:]
    assert run(path, *settings, resume=True) == [0], said(path)[-3000:]
