"""The lock of a run folder: who holds it, what it leaves, where there are no locks."""

from __future__ import annotations

import errno

import pytest

from skyeye.errors import SkyEyeError
from skyeye.train import run_lock
from skyeye.train.run import train
from skyeye.train.run_lock import LOCK, claimed


def test_a_folder_that_another_process_holds_is_refused_before_anything_is_read(recipe, tmp_path, held_by_another):
    folder = tmp_path / "run"
    folder.mkdir()
    child = held_by_another(folder / LOCK)
    for resume in (False, True):
        with pytest.raises(SkyEyeError, match=f"another run is training in this folder: process {child.pid} on"):
            train(recipe(), resume=resume)
    assert [path.name for path in folder.iterdir()] == [LOCK]
    child.kill()
    child.wait()
    with claimed(folder):
        assert (folder / LOCK).exists()
    assert list(folder.iterdir()) == []


def test_folders_that_were_made_for_nothing_are_removed_again(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(SkyEyeError, match="no such thing"), claimed(tmp_path / "there" / "a" / "b"):
        raise SkyEyeError("no such thing")
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
    with claimed(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "log.jsonl").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["log.jsonl"]


def test_the_first_process_holds_the_folder_for_all(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with claimed(tmp_path / "run"):
        assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_locked_is_used_and_it_is_said(tmp_path, monkeypatch, capsys):
    def none(path):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(run_lock, "lock_file", none)
    with claimed(tmp_path):
        assert "cannot lock files" in capsys.readouterr().out


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_a_folder_that_is_a_file_is_refused_in_one_line(tmp_path, below):
    (tmp_path / "afile").write_text("mine")
    refused = pytest.raises(SkyEyeError, match=r"afile.*: cannot be written to: .*run.dir=...")
    with refused, claimed(tmp_path / "afile" / below):
        pass
    assert (tmp_path / "afile").read_text() == "mine"
