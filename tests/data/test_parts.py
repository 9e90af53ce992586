"""A list that several processes read gives the table of one; what is unsound is left to one."""

import json
import random

import numpy as np
import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data import parts
from skyeye.data.formats import iter_source
from skyeye.data.formats.base import json_lists
from skyeye.data.formats.base.noted import noting
from skyeye.data.formats.base.problems import Problem
from skyeye.data.groups import open_source
from skyeye.data.parts import read_in_parts
from skyeye.data.table import build_table
from skyeye.errors import SkyEyeError


@pytest.fixture
def small(monkeypatch):
    """Lists of some kilobytes have three parts."""
    monkeypatch.setattr(parts, "LEAST", 1)
    monkeypatch.setattr(json_lists, "CHUNK", 256)
    monkeypatch.setattr(parts.os, "sched_getaffinity", lambda process: {0, 1, 2})


def a_list(folder, rng, missing=0.1, fields=()):
    """A source of eighty records, text-only ones and frames among them."""
    (folder / "images").mkdir(exist_ok=True)
    for number in range(12):
        (folder / f"images/{number}.png").touch()
    items = []
    for _ in range(80):
        name = "none.png" if rng.random() < missing else f"{rng.randrange(12)}.png"
        words = rng.choice(("[vqa] how many?", "what is it?", "[caption] describe", "\u4e00?", "is {<1><2>"))
        item = {"image": name, "conversations": [{"from": "human", "value": words}, {"from": "gpt", "value": "2"}]}
        if rng.random() < 0.2:
            item["image"] = rng.choice((["1.png", "2.png"], None, "3"))
        items.append(item | {field: 1 for field in fields})
    (folder / "x_train.json").write_text(json.dumps(items))
    return SourceConfig("llava", str(folder / "x_train.json"), str(folder / "images"))


def in_one(source):
    problems = []
    with noting() as notes:
        items = list(iter_source(source, "mine"))
    problems = [item for item in items if isinstance(item, Problem)]
    return build_table(item for item in items if not isinstance(item, Problem)), problems, notes


def same(table, other):
    names = [np.array_equal(table.columns[name], other.columns[name]) for name in table.columns]
    about = [(t.texts, t.images, t.tasks, t.splits, t.system_turns, t.fingerprint) for t in (table, other)]
    return all(names) and about[0] == about[1]


@pytest.mark.parametrize("seed", range(4))
def test_the_table_is_that_of_one_process(tmp_path, small, seed):
    source = a_list(tmp_path, random.Random(seed))
    table, problems, notes = in_one(source)
    with noting() as noted:
        found = read_in_parts(source, "mine")
    assert found is not None and same(found[0], table) and found[1] == problems and noted == notes
    groups, told = open_source(source, "mine")
    assert list(groups) == [table.group(number) for number in range(len(table))] and told == problems


def test_damaged_lists_end_in_the_same_words(tmp_path, small):
    rng = random.Random(5)
    for blow in (b"", b"", b"]", b"[", b'"', b"\xff", b"}, {", b",", b"{}", b"\\ud800") * 2:
        source = a_list(tmp_path, rng)
        content = (tmp_path / "x_train.json").read_bytes()
        at = rng.randrange(len(content))
        (tmp_path / "x_train.json").write_bytes(content[:at] + blow + content[at + rng.choice((0, 1, 9, 9**9)) :])
        try:
            table, problems, _ = in_one(source)
        except SkyEyeError as error:
            assert read_in_parts(source, "mine") is None
            with pytest.raises(SkyEyeError) as told:
                open_source(source, "mine")
            assert str(told.value) == str(error)
        else:
            groups, told = open_source(source, "mine")
            assert same(groups.table, table) and told == problems


def test_what_is_told_of_a_whole_file_is_left_to_one_process(tmp_path, small):
    source = a_list(tmp_path, random.Random(1), fields=("boxes",))
    source.format = "skyeye968k"
    assert read_in_parts(source, "mine") is None
    assert "80 records have a field 'boxes'" in str(open_source(source, "mine")[1][-1])


def test_short_lists_and_single_cores_have_one_part(tmp_path, small, monkeypatch):
    source = a_list(tmp_path, random.Random(1))
    assert read_in_parts(source, "mine") is not None
    monkeypatch.setattr(parts.os, "sched_getaffinity", lambda process: {0})
    assert read_in_parts(source, "mine") is None
    monkeypatch.setattr(parts.os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(parts, "LEAST", 1 << 20)
    assert read_in_parts(source, "mine") is None


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_what_is_no_list_is_read_once(tmp_path, small, suffix):
    """Objects line by line, and lists inside an object, have no parts: every process would read all of them."""
    (tmp_path / "1.png").touch()
    said = [{"from": "human", "value": "how many?"}, {"from": "gpt", "value": "2"}]
    rows = [{"image": "1.png", "conversations": said} for _ in range(50)]
    text = "\n".join(map(json.dumps, rows)) if suffix == "jsonl" else json.dumps({"data": rows})
    (tmp_path / f"a.{suffix}").write_text(text)
    source = SourceConfig("llava", str(tmp_path / f"a.{suffix}"), str(tmp_path))
    assert open_source(source, "x", index=False)[0].samples == 50
