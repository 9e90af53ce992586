"""Packing: the same bytes for any number of workers, nothing twice, nothing lost, nothing half written."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace

import pytest
from PIL import Image

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_source
from skyeye.data.groups import GroupList
from skyeye.data.images.load import load_image
from skyeye.data.shards import pack as packing
from skyeye.data.shards import write
from skyeye.data.shards.encode import Encoding, extension
from skyeye.data.shards.groups import ShardGroups
from skyeye.data.shards.index import ShardSet
from skyeye.data.shards.pack import pack
from skyeye.errors import SkyEyeError

SMALL = 20_000  # bytes: the sets of these tests then have several shards


def test_the_bytes_do_not_depend_on_the_workers(many, tmp_path, digests):
    for workers in (1, 2, 3):
        header = pack(many, tmp_path / f"out{workers}", workers=workers, shard_bytes=SMALL)
    assert len(header["shards"]) > 2
    assert digests(tmp_path / "out1") == digests(tmp_path / "out2") == digests(tmp_path / "out3")
    assert not list((tmp_path / "out1").glob(".*"))  # no work folder, no partial files


def test_where_the_data_lie_is_no_part_of_a_shard(many, tmp_path, digests):
    pack(many, tmp_path / "here", shard_bytes=SMALL)
    moved = {}
    for name, source in many.items():
        (tmp_path / "moved").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "moved" / name)
        folder = tmp_path / "moved" / name
        moved[name] = replace(source, path=str(folder / "all.json"), images=str(folder / "images"))
    pack(moved, tmp_path / "there", shard_bytes=SMALL)
    here, there = digests(tmp_path / "here"), digests(tmp_path / "there")
    assert {n: d for n, d in here.items() if n != "index.json"} == {n: d for n, d in there.items() if n != "index.json"}


def test_an_entry_is_the_untouched_image_and_all_its_samples(many, tmp_path):
    header = pack(many, tmp_path / "out")
    assert (header["images"], header["samples"], header["skipped"]) == (
        50,
        140,
        0,
    )  # 40 + 20 pictures, 10 of them alike
    with tarfile.open(tmp_path / "out/shard-00000.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    content = (tmp_path / "first/images/a35.png").read_bytes()
    key = hashlib.sha256(content).hexdigest()[:32]
    assert members[f"{key}.png"] == content
    entry = json.loads(members[f"{key}.json"])
    assert entry["key"] == key and entry["images"] == [key]
    assert [(s["source"], s["index"], s["names"], s["where"]) for s in entry["samples"]] == [
        ("first", 35, ["a35.png"], "all.json, record 35"),
        ("first", 75, ["a35.png"], "all.json, record 75"),
        ("first", 115, ["a35.png"], "all.json, record 115"),
        ("second", 5, ["sub/b5.png"], "all.json, record 5"),
    ]
    assert entry["samples"][0]["turns"] == [{"question": "question 35?", "answer": "yes", "task": "vqa"}]


def test_frames_and_text_are_entries_too(write_set, asks, tmp_path):
    pictures = {"a.png": 1, "b.png": 2, "c.png": 3}
    records = [
        asks(["a.png", "b.png", "a.png"], "which moves?"),
        asks("a.png", "what?"),
        asks(None, "What is a ship?", "A boat."),
        asks(None, "What is a ship?", "A boat."),
        asks(["b.png", "c.png"], "again?"),
    ]
    source = write_set("mixed", pictures, records)
    header = pack({"mixed": source}, tmp_path / "out")
    assert (header["images"], header["entries"], header["samples"]) == (3, 3 + 2 + 2, 5)
    groups = ShardGroups(ShardSet(tmp_path / "out"), "mixed")
    whole = {record.id: record for record in groups.records()}
    for record in read_source(source, "mixed"):
        packed = whole[record.id]
        assert packed.turns == record.turns and len(packed.images) == len(record.images)
        for name, reference in zip(record.images, packed.images, strict=True):
            assert load_image(reference).tobytes() == load_image(name).tobytes()
    assert [len(group.images) for group in groups] == [3, 1, 0, 0, 2]


def test_what_the_system_says_is_kept_and_counted(write_set, asks, tmp_path):
    records = [{**asks("a.png", "what?"), "system": "Be brief."}, asks("a.png", "where?")]
    source = write_set("mixed", {"a.png": 1}, records)
    header = pack({"mixed": source}, tmp_path / "out")
    assert [about["system_turns"] for about in header["sources"]] == [1]
    groups = ShardGroups(ShardSet(tmp_path / "out"), "mixed")
    assert groups.system_turns == GroupList(read_source(source, "mixed")).system_turns == 1
    assert [record.turns[0].system for record in groups.records()] == ["Be brief.", None]


def test_a_killed_run_is_gone_on_with(many, tmp_path, digests):
    pack(many, tmp_path / "whole", shard_bytes=SMALL)
    script = f"""
import os, signal
from skyeye.config.schema import SourceConfig
from skyeye.data.shards import pack as packing
sources = {{{", ".join(f"{name!r}: {source!r}" for name, source in many.items())}}}
real, calls = packing.write_shard, []
def dies(*arguments):
    if len(calls) == 2:
        arguments[0].joinpath(".shard-00002.tar.1.partial").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(real(*arguments))
packing.write_shard = dies
packing.pack(sources, {str(tmp_path / "out")!r}, shard_bytes={SMALL})
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    out = tmp_path / "out"
    assert sorted(path.name for path in out.glob("*.tar")) == ["shard-00000.tar", "shard-00001.tar"]
    with pytest.raises(SkyEyeError, match="was not finished .*again"):
        ShardSet(out)
    kept = (out / "shard-00000.tar").stat().st_mtime_ns
    (out / "shard-00001.tar").write_bytes((out / "shard-00001.tar").read_bytes()[:-1] + b"x")  # not what was written
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "spool_source", lambda *_: pytest.fail("the records are read a second time"))
        pack(many, out, shard_bytes=SMALL)
    assert (out / "shard-00000.tar").stat().st_mtime_ns == kept
    assert digests(out) == digests(tmp_path / "whole")


def test_another_job_keeps_nothing_of_a_killed_one(many, tmp_path, digests, monkeypatch):
    def stops(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(packing, "write_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        pack(many, tmp_path / "out", shard_bytes=SMALL)
    monkeypatch.undo()
    only = {"first": many["first"]}
    pack(only, tmp_path / "out", shard_bytes=SMALL)
    pack(only, tmp_path / "fresh", shard_bytes=SMALL)
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def test_a_full_disk_leaves_no_half_file(many, tmp_path, monkeypatch):
    def full(self, name, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(write.TarWriter, "add", full)
    with pytest.raises(SkyEyeError, match=r"shard-00000.tar: cannot be written: No space left .*make room"):
        pack(many, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".packing"]
    monkeypatch.undo()
    assert pack(many, tmp_path / "out")["samples"] == 140


def test_packing_twice_changes_nothing_and_another_set_is_refused(many, tmp_path, digests):
    first = pack(many, tmp_path / "out")
    before = digests(tmp_path / "out")
    assert pack(many, tmp_path / "out")["job"] == first["job"] and digests(tmp_path / "out") == before
    path = tmp_path / "out/shard-00000.tar"
    whole = path.read_bytes()
    path.write_bytes(b"x" + whole[1:])
    with pytest.raises(SkyEyeError, match="1 shards are not what was packed: shard-00000.tar"):
        pack(many, tmp_path / "out")
    path.write_bytes(whole)
    with pytest.raises(SkyEyeError, match="holds another shard set"):
        pack({"first": many["first"]}, tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("mine")
    with pytest.raises(SkyEyeError, match="the folder is not empty"):
        pack(many, tmp_path / "other")
    with pytest.raises(SkyEyeError, match="nothing to pack"):
        pack({}, tmp_path / "new")


def test_two_runs_at_once_are_refused(many, tmp_path, monkeypatch):
    real = packing.write_shard

    def meanwhile(*arguments):
        with pytest.raises(SkyEyeError, match="another run is packing"):
            pack(many, tmp_path / "out")
        real(*arguments)

    monkeypatch.setattr(packing, "write_shard", meanwhile)
    pack(many, tmp_path / "out")


def test_what_is_skipped_is_counted_and_listed(write_set, asks, tmp_path):
    records = [asks("a.png", "one?"), asks("gone.png", "two?"), asks("a.png", "four?", ""), asks("dir.png", "three?")]
    source = write_set("some", {"a.png": 1, "dir.png": 2}, records)
    (tmp_path / "some/images/dir.png").unlink()
    (tmp_path / "some/images/dir.png").symlink_to(tmp_path / "nowhere.png")  # named by the folder, but not readable
    header = pack({"some": source}, tmp_path / "out")
    assert header["samples"] == 1
    assert header["sources"][0]["skipped"] == {"missing image": 1, "no answer": 1, "unreadable image": 1}
    lines = (tmp_path / "out/skipped.txt").read_text().splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        ["some", "missing image"],
        ["some", "no answer"],
        ["some", "unreadable image"],
    ]
    assert "all.json, record 3" in lines[2] and "cannot be read" in lines[2]


def test_what_is_no_picture_is_skipped_and_the_rest_is_packed(write_set, asks, tmp_path):
    names = ("a.png", "empty.png", "page.png", "cut.png")
    source = write_set("some", {name: n for n, name in enumerate(names)}, [asks(name, "one?") for name in names])
    folder = tmp_path / "some/images"
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.png").write_text("<html>404</html>")
    Image.effect_noise((64, 64), 99).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:2000])
    assert pack({"some": source}, tmp_path / "out")["samples"] == 2  # whole bytes are taken over as they are
    header = pack({"some": source}, tmp_path / "anew", encoding=Encoding("png"))
    assert header["samples"] == 1 and header["sources"][0]["skipped"] == {"unreadable image": 3}
    listed = (tmp_path / "anew/skipped.txt").read_text()
    assert "empty (0 bytes)" in listed and "it is a web page" in listed and "truncated or damaged" in listed


def test_an_image_that_changes_meanwhile_is_noticed(many, tmp_path, monkeypatch):
    real = packing.write_shard

    def changed(*arguments):
        Image.new("RGB", (3, 3)).save(tmp_path / "first/images/a7.png")
        real(*arguments)

    monkeypatch.setattr(packing, "write_shard", changed)
    with pytest.raises(SkyEyeError, match="a7.png: the image changed while it was packed"):
        pack(many, tmp_path / "out")


def test_re_encoding_is_asked_for(many, tmp_path):
    Image.effect_noise((60, 30), 40).convert("RGB").save(tmp_path / "first/images/a0.png")
    pack({"first": many["first"]}, tmp_path / "out", encoding=Encoding("jpeg", quality=90, max_side=20))
    shards = ShardSet(tmp_path / "out")
    assert shards.header["encoding"] == {"format": "jpeg", "quality": 90, "max_side": 20}
    groups = ShardGroups(shards)
    sizes = {group.records[0].turns[0].question: load_image(group.images[0]).size for group in groups}
    assert sizes["question 0?"] == (20, 10) and sizes["question 1?"] == (9, 7)
    with tarfile.open(tmp_path / "out/shard-00000.tar") as tar:
        assert {name.split(".")[1] for name in tar.getnames()} == {"jpg", "json"}


def test_shards_can_be_packed_again(many, tmp_path, digests):
    pack(many, tmp_path / "out")
    again = {
        name: SourceConfig("shards", str(tmp_path / "out"), options={"source": name}) for name in ("first", "second")
    }
    header = pack(again, tmp_path / "again", shard_bytes=SMALL)
    assert (header["images"], header["samples"]) == (50, 140)
    one, two = (ShardGroups(ShardSet(tmp_path / name), "second") for name in ("out", "again"))
    assert [[(r.id, r.turns, r.where) for r in g.records] for g in one] == [
        [(r.id, r.turns, r.where) for r in g.records] for g in two
    ]


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "a.png", "jpg"),
        (b"II*\0", "a", "tif"),
        (b"RIFF\0\0\0\0WEBP", "a.bin", "webp"),
        (b"other", "a.J2K", "j2k"),
        (b"other", "a.json", "bin"),
        (b"other", "a.p/../n", "bin"),
    ],
)
def test_extensions_come_from_the_content(content, name, expected):
    assert extension(content, name) == expected
