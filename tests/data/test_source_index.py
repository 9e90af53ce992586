"""A later start reads the index, for as long as nothing that was read has changed."""

import json
import os
import pickle
from dataclasses import replace

import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data import groups, source_index
from skyeye.data.groups import open_source
from skyeye.data.source_index import index_path, is_large, read_index


def talk(image, question="[vqa] how many?"):
    return {"image": image, "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": "2"}]}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Three records of two pictures, one of which is not there; large enough for an index of its own."""
    monkeypatch.setattr(source_index, "LEAST", 1)
    monkeypatch.setenv("SKYEYE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").touch()
    items = [talk("a.png"), talk("b.png"), talk("a.png", "what is it?")]
    (tmp_path / "x.json").write_text(json.dumps(items))
    return SourceConfig("llava", str(tmp_path / "x.json"), str(tmp_path / "images"))


@pytest.fixture
def opened(monkeypatch):
    """(source) -> groups, problems, and whether the files were read."""

    def opened(source):
        read, original = [], groups.iter_source
        monkeypatch.setattr(groups, "iter_source", lambda *about: read.append(1) or original(*about))
        return *open_source(source, "mine"), bool(read)

    return opened


def test_a_second_start_answers_alike_and_reads_nothing(source, opened):
    first, problems, read = opened(source)
    again, same, read_again = opened(source)
    plain, _ = open_source(source, "mine", index=False)
    assert read and not read_again
    assert problems == same and [problem.kind for problem in same] == ["missing image"]
    for one in (first, again):
        assert list(one) == list(plain) and len(one) == 1 and one.samples == 2
        assert (one.fingerprint, one.splits, one.tasks()) == (plain.fingerprint, {"train": 2}, ["conversation", "vqa"])
        assert one.with_tasks(["vqa"]).tolist() == [0] and one.with_tasks(["refer"]).tolist() == []
    assert list(pickle.loads(pickle.dumps(again))) == list(plain)


def test_whatever_was_looked_at_is_noticed(source, opened, tmp_path):
    opened(source)
    (tmp_path / "images/b.png").touch()
    assert opened(source)[0].samples == 3 and not opened(source)[2]
    (tmp_path / "x.json").write_text(json.dumps([talk("a.png"), talk("b.png"), talk("a.png", "what is in?")]))
    assert opened(source)[2] and not opened(source)[2]  # as long as before
    os.utime(tmp_path / "x.json", ns=(1, 1))
    assert opened(source)[2] and not opened(source)[2]
    (tmp_path / "images/b.png").unlink()
    assert opened(source)[0].samples == 2
    assert opened(replace(source, options={"task": "vqa"}))[2] and not opened(source)[2]


def test_the_files_of_a_folder_are_looked_at_too(source, opened, tmp_path):
    whole = replace(source, path=str(tmp_path), images=str(tmp_path / "images"))
    os.environ["SKYEYE_CACHE"] = str(tmp_path.parent / f"{tmp_path.name}-cache")
    assert opened(whole)[2] and not opened(whole)[2]
    (tmp_path / "y.json").write_text(json.dumps([talk("a.png")]))
    assert opened(whole)[0].samples == 3


def test_an_index_of_another_program_is_not_used(source, opened, monkeypatch):
    opened(source)
    monkeypatch.setattr(source_index, "reader_version", lambda: "another")
    assert opened(source)[2]


def test_a_damaged_index_is_made_anew(source, opened, tmp_path):
    opened(source)
    path = index_path(source, "mine")
    content = path.read_bytes()
    size = int.from_bytes(content[8:16], "little")
    beyond = (24 + size).to_bytes(8, "little")
    hurt = [content[:at] for at in (0, 7, 23, 24 + size // 2, len(content) - 1)]
    hurt += [content[:8] + bytes(7) + b"\xff" + content[16:], content[:8] + beyond + content[16:]]
    hurt += [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in range(0, 24 + size + 60, 7)]
    for damaged in hurt:
        path.write_bytes(damaged)
        assert read_index(path) is None
    assert opened(source)[2] and read_index(path) is not None


def test_a_place_that_cannot_be_written_costs_nothing(source, opened, tmp_path, capfd):
    (tmp_path / "cache").write_text("a file is in the way")
    assert opened(source)[0].samples == 2 and opened(source)[2]
    assert capfd.readouterr() == ("", "")


def test_a_small_source_has_none(source, opened, monkeypatch, tmp_path):
    monkeypatch.setattr(source_index, "LEAST", 10_000)
    assert opened(source)[2] and opened(source)[2] and not (tmp_path / "cache").exists()
    assert not is_large(str(tmp_path)) and not is_large(str(tmp_path / "nothing"))
    (tmp_path / "x.json").write_text(" " * 10_000 + "[]")
    assert is_large(str(tmp_path)) and is_large(source.path)
