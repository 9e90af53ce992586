"""Opening shard sets: what is asked for is read and nothing else, and damage is told with file and remedy."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest

from skyeye.data.shards import index
from skyeye.data.shards.groups import ShardGroups
from skyeye.data.shards.index import ShardSet
from skyeye.data.shards.pack import pack
from skyeye.errors import SkyEyeError


@pytest.fixture
def packed(many, tmp_path):
    pack(many, tmp_path / "out", shard_bytes=20_000)
    return tmp_path / "out"


def change(packed, edit):
    header = json.loads((packed / "index.json").read_text())
    edit(header)
    (packed / "index.json").write_text(json.dumps(header))


def test_an_entry_is_read_and_nothing_else(packed, monkeypatch):
    shards, reads = ShardSet(packed), []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: reads.append(arguments[1]) or real(*arguments))
    groups = ShardGroups(shards, "first")
    assert reads == []
    groups[17]
    assert len(reads) == 1 and reads[0] < 1500


def test_keys_lead_to_their_entries(packed):
    shards = ShardSet(packed)
    assert len(shards) == 50
    for entry in range(50):
        assert shards.find(shards.key(entry)) == entry
        assert shards.content(entry)["key"] == shards.key(entry)
    for key in ("0" * 32, "../../etc/passwd", "zz" * 16, 7):
        with pytest.raises(SkyEyeError, match="has no entry"):
            shards.find(key)


def test_a_copy_in_another_process_opens_its_own_files(packed):
    shards = ShardSet(packed)
    shards.content(0)
    other = pickle.loads(pickle.dumps(shards))
    assert other.content(49) == shards.content(49) and other.fingerprint == shards.fingerprint
    assert len(pickle.dumps(shards)) < 1000


def test_few_files_are_open_at_a_time(packed, monkeypatch):
    monkeypatch.setattr(index, "OPEN_FILES", 1)
    shards = ShardSet(packed)
    assert [shards.content(entry)["key"] for entry in range(50)] == [shards.key(entry) for entry in range(50)]
    assert len(shards._files) == 1


def test_a_shard_that_is_cut_off_or_missing_is_told_at_once(packed):
    name = "shard-00001.tar"
    whole = (packed / name).read_bytes()
    (packed / name).write_bytes(whole[:-600])
    with pytest.raises(SkyEyeError, match=rf"{name}: has {len(whole) - 600} bytes where {len(whole)} .*copy it again"):
        ShardSet(packed)
    (packed / name).unlink()
    with pytest.raises(SkyEyeError, match=f"{name}: is missing"):
        ShardSet(packed)


def test_a_shard_with_other_bytes_is_told_when_it_is_read(packed):
    shards = ShardSet(packed)
    assert shards.damaged_shards() == []
    at, size = int(shards.entry["json_offset"][0]), int(shards.entry["json_size"][0])
    path = packed / "shard-00000.tar"
    whole = bytearray(path.read_bytes())
    other = json.dumps({"key": "0" * 32, "images": [], "samples": []}).encode().ljust(size)
    for junk in (b"x" * size, other, b"[]".ljust(size), b'{"key": "0"}'.ljust(size), b"\xff" * size, b"[" * size):
        whole[at : at + size] = junk
        path.write_bytes(whole)
        with pytest.raises(SkyEyeError, match=r"shard-00000.tar, entry [0-9a-f]{32}: is damaged.*pack it again"):
            ShardSet(packed).content(0)
    broken = {"key": shards.key(0), "images": [shards.key(0)], "samples": [{"source": "first"}]}
    whole[at : at + size] = json.dumps(broken).encode().ljust(size)
    path.write_bytes(whole)
    with pytest.raises(SkyEyeError, match="a sample is not what skyeye writes"):
        list(ShardGroups(ShardSet(packed)))
    assert ShardSet(packed).damaged_shards() == ["shard-00000.tar"]


def test_a_damaged_column_is_told(packed):
    path = packed / "index/entry.json_offset.npy"
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:-8] + b"\xff" * 8, b""):
        path.write_bytes(content)
        with pytest.raises(SkyEyeError, match="entry.json_offset.npy: .*checksum differs.*pack it again"):
            ShardSet(packed)
    path.unlink()
    with pytest.raises(SkyEyeError, match="entry.json_offset.npy: cannot be read"):
        ShardSet(packed)


def refit(packed, name, content):
    """Replace a column and its checksum: what a hostile set would do."""
    import hashlib

    (packed / f"index/{name}.npy").write_bytes(content)
    change(packed, lambda h: h["columns"][name].update(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)))


def saved(array, tmp_path, **options):
    np.save(tmp_path / "x.npy", array, **options)
    return (tmp_path / "x.npy").read_bytes()


def test_hostile_columns_are_refused(packed, tmp_path):
    original = np.load(packed / "index/entry.json_offset.npy")
    shutil.copytree(packed, tmp_path / "kept")
    cases = {
        saved(np.array([print], dtype=object), tmp_path, allow_pickle=True): "cannot be read|holds object",
        saved(original[:-1], tmp_path): r"holds uint64 \(49,\) instead of <u8 \(50,\)",
        saved(original.astype(np.float32), tmp_path): "holds float32",
        saved(original + 10**12, tmp_path): "is damaged",
        saved(np.full_like(original, 2**64 - 1), tmp_path): "is damaged",
    }
    for content, words in cases.items():
        refit(packed, "entry.json_offset", content)
        with pytest.raises(SkyEyeError, match=words):
            ShardSet(packed)
        shutil.copy(tmp_path / "kept/index.json", packed)
        shutil.copy(tmp_path / "kept/index/entry.json_offset.npy", packed / "index")
    for name in ("entry.shard", "part.entry", "part.source", "part.split"):
        column = np.load(packed / f"index/{name}.npy")
        refit(packed, name, saved(np.full_like(column, np.iinfo(column.dtype).max), tmp_path))
        with pytest.raises(SkyEyeError, match="is damaged"):
            ShardSet(packed)
        shutil.copy(tmp_path / "kept/index.json", packed)
        shutil.copy(tmp_path / f"kept/index/{name}.npy", packed / "index")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda h: h.update(version=3), "has version 3; this skyeye reads version 2"),
        (lambda h: h.update(format="wids"), "is not the index of a shard set"),
        (lambda h: h["shards"][0].update(name="../secret.tar"), "is damaged"),
        (lambda h: h["shards"][0].update(name="/etc/passwd"), "is damaged"),
        (lambda h: h["shards"][0].update(bytes="many"), "is damaged"),
        (lambda h: h["shards"][0].update(sha256="../../../../../../tmp/x"), "is damaged"),
        (lambda h: h["columns"]["part.tasks"].pop("bytes"), "is damaged"),
        (lambda h: h.update(shards=[]), "is damaged"),
        (lambda h: h.update(shards=[3]), "is damaged"),
        (lambda h: h.update(entries=-1), "is damaged"),
        (lambda h: h.update(sources=[{}]), "is damaged"),
        (lambda h: h.update(columns=[]), "is damaged"),
        (lambda h: h["columns"].pop("part.tasks"), "is damaged"),
    ],
)
def test_hostile_headers_are_refused(packed, edit, words):
    change(packed, edit)
    with pytest.raises(SkyEyeError, match=words):
        ShardSet(packed)


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00", "[" * 100_000])
def test_a_header_that_is_no_json_is_refused(packed, content):
    (packed / "index.json").write_text(content)
    with pytest.raises(SkyEyeError, match=r"index.json: is .*pack it again"):
        ShardSet(packed)


def test_a_folder_that_is_no_set(tmp_path):
    with pytest.raises(SkyEyeError, match="is no shard set: it has no index.json"):
        ShardSet(tmp_path)
