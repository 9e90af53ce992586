"""A lock on a file: one process has it, and no process keeps it after its end."""

from __future__ import annotations

import os
from pathlib import Path

from skyeye.data import locks
from skyeye.data.locks import lock_file, unlock


def test_one_process_holds_it_and_death_gives_it_back(tmp_path, held_by_another):
    other = held_by_another(tmp_path / "lock")
    handle, holder = lock_file(tmp_path / "lock")
    unlock(handle)
    assert holder.startswith(f"process {other.pid} on ")
    other.kill()
    other.wait()
    handle, holder = lock_file(tmp_path / "lock")
    unlock(handle)
    assert holder is None


def test_a_lock_that_its_holder_has_removed_is_not_taken_for_a_lock(tmp_path, monkeypatch):
    path, real = tmp_path / "lock", locks.lock

    def removed_meanwhile(handle: int) -> str | None:
        monkeypatch.setattr(locks, "lock", real)
        path.unlink()
        return real(handle)

    monkeypatch.setattr(locks, "lock", removed_meanwhile)
    handle, holder = lock_file(path)
    assert holder is None and Path(path).read_text().startswith(f"process {os.getpid()} on ")
    unlock(handle)


def test_the_same_process_takes_it_once(tmp_path):
    handle, holder = lock_file(tmp_path / "lock")
    again, by = lock_file(tmp_path / "lock")
    assert holder is None and by == f"process {os.getpid()}, this one"
    unlock(again)
    third, by = lock_file(tmp_path / "lock")  # the second has not given the first one's lock back
    assert by is not None
    unlock(third)
    unlock(handle)
    handle, holder = lock_file(tmp_path / "lock")
    assert holder is None
    unlock(handle)
