"""Damaged and hostile shard sets: every one is read, or refused as a user's mistake; nothing crashes or hangs."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyeye.config.schema import SourceConfig
from skyeye.data.shards.groups import ShardGroups
from skyeye.data.shards.index import ShardSet
from skyeye.data.shards.pack import pack
from skyeye.errors import SkyEyeError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def packed(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "out"
    pack({"world": SourceConfig("synthetic", str(world))}, out, shard_bytes=40_000)
    return out


@pytest.fixture(scope="module")
def copy(packed):
    """A copy of the set that is mended after each use."""
    target = packed.with_name("copy")
    shutil.copytree(packed, target)
    return target


def read_through(folder: Path) -> int:
    try:
        return sum(len(group.records) for group in ShardGroups(ShardSet(folder)))
    except SkyEyeError as error:
        assert str(error)
        return -1


@given(data=st.data())
@settings(max_examples=150)
def test_any_value_in_the_header(packed, copy, data):
    header = json.loads((packed / "index.json").read_text())
    place, key = header, data.draw(st.sampled_from(sorted(header)))
    while isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    if data.draw(st.booleans()):
        place[key] = data.draw(JSON)
    else:
        del place[key]
    (copy / "index.json").write_text(json.dumps(header))
    read_through(copy)
    shutil.copy(packed / "index.json", copy)


@given(data=st.data())
@settings(max_examples=150)
def test_any_bytes_in_any_file(packed, copy, data):
    name = data.draw(
        st.sampled_from(sorted(p.relative_to(packed).as_posix() for p in packed.rglob("*") if p.is_file()))
    )
    content = bytearray((packed / name).read_bytes())
    at = data.draw(st.integers(0, max(len(content) - 1, 0)))
    junk = data.draw(st.binary(min_size=1, max_size=12))
    content[at : at + data.draw(st.sampled_from([0, len(junk), len(content)]))] = junk
    (copy / name).write_bytes(content)
    if name.endswith(".npy"):  # with a checksum that agrees
        header = json.loads((packed / "index.json").read_text())
        column = header["columns"][Path(name).stem]
        column |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (copy / "index.json").write_text(json.dumps(header))
    read_through(copy)
    shutil.copy(packed / name, copy / name)
    shutil.copy(packed / "index.json", copy)


@given(data=st.data())
@settings(max_examples=150)
def test_any_value_in_a_sample(packed, copy, data):
    shards = ShardSet(packed)
    entry = data.draw(st.integers(0, len(shards) - 1))
    content = shards.content(entry)
    place, key = content, data.draw(st.sampled_from(["images", "samples"]))
    while isinstance(place[key], (dict, list)) and place[key] and data.draw(st.integers(0, 3)):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(JSON)
    text = json.dumps(content, separators=(",", ":")).encode()
    size, at = int(shards.entry["json_size"][entry]), int(shards.entry["json_offset"][entry])
    path = shards.file(int(shards.entry["shard"][entry]))
    whole = bytearray(path.read_bytes())
    whole[at : at + size] = text[:size].ljust(size)
    (copy / path.name).write_bytes(whole)
    read_through(copy)
    shutil.copy(path, copy)


def test_the_whole_set_is_read(packed, copy):
    assert read_through(copy) == read_through(packed) > 100
