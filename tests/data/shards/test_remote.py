"""Shards are plain WebDataset tar files, and may lie behind a URL."""

import errno
import functools
import http.server
import json
import os
import socketserver
import threading
from typing import ClassVar

import pytest
import webdataset as wds

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_source
from skyeye.data.images.load import load_image
from skyeye.data.shards.groups import ShardGroups
from skyeye.data.shards.index import ShardSet
from skyeye.data.shards.pack import pack
from skyeye.errors import SkyEyeError


class Quiet(http.server.SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *arguments):
        pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True  # a client that keeps its connection open must not keep the test from ending
    block_on_close = False


@pytest.fixture
def served(many, tmp_path):
    """URL of a packed set, its folder, and the list of paths asked for."""
    pack(many, tmp_path / "out", shard_bytes=20_000)
    Quiet.asked = []
    with Server(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/out", tmp_path / "out", Quiet.asked
        server.shutdown()


def test_plain_webdataset_streams_them(many, tmp_path):
    pack(many, tmp_path / "out", shard_bytes=20_000)
    shards = sorted(str(path) for path in (tmp_path / "out").glob("*.tar"))
    seen = list(wds.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert len(seen) == 50
    for entry in seen:
        assert entry["__key__"] == entry["json"]["key"] and entry["png"].size == (9, 7)
    assert sum(len(entry["json"]["samples"]) for entry in seen) == 140


def test_plain_webdataset_streams_them_from_a_url(served):
    url, folder, _ = served
    count = len(json.loads((folder / "index.json").read_text())["shards"])
    dataset = wds.WebDataset(f"{url}/shard-{{00000..{count - 1:05}}}.tar", shardshuffle=False)
    assert sum(len(json.loads(entry["json"])["samples"]) for entry in dataset) == 140


def test_a_cache_on_a_file_system_without_locks(served, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("skyeye.data.locks.fcntl.flock", refused)
    url, folder, _ = served
    far, near = ShardGroups(ShardSet(url, tmp_path / "cache"), "first"), ShardGroups(ShardSet(folder), "first")
    assert far[3].records[0].turns == near[3].records[0].turns


def test_a_set_behind_a_url_is_the_set(served, tmp_path):
    url, folder, asked = served
    cache = tmp_path / "cache"
    far, near = ShardGroups(ShardSet(url, cache), "first"), ShardGroups(ShardSet(folder), "first")
    assert far.fingerprint == near.fingerprint
    assert not any(path.endswith(".tar") for path in asked)
    far[3]
    assert sum(path.endswith(".tar") for path in asked) == 1  # only the shard that holds it
    for one, other in zip(far, near, strict=True):
        assert one.records[0].turns == other.records[0].turns
        assert load_image(one.images[0]).tobytes() == load_image(other.images[0]).tobytes()
    asked.clear()
    assert list(ShardGroups(ShardSet(url, cache), "first")) == list(far)
    assert asked == ["/out/index.json"]  # everything else is kept
    source = SourceConfig("shards", url, options={"source": "second", "cache": str(cache)})
    assert len(read_source(source, "x")) == 20


def test_a_set_that_is_packed_anew_is_noticed(served, many, tmp_path):
    url, folder, _ = served
    cache = tmp_path / "cache"
    before = ShardSet(url, cache)
    list(ShardGroups(before))
    folder.rename(tmp_path / "old")
    pack({"second": many["second"]}, folder, shard_bytes=20_000)
    after = ShardGroups(ShardSet(url, cache))
    assert after.samples == 20 and len(list(after)) == 20
    assert after.shards.fingerprint != before.fingerprint


def test_what_is_not_what_the_index_promises_is_refused_and_not_kept(served, tmp_path):
    url, folder, _ = served
    whole = (folder / "shard-00000.tar").read_bytes()
    for content in (whole[:-1], whole[:-1] + b"x", whole + b"more", b""):
        (folder / "shard-00000.tar").write_bytes(content)
        cache = tmp_path / f"cache{len(content)}{content[-1:]}"
        with pytest.raises(SkyEyeError, match=r"shard-00000.tar: what was fetched .* is not what the index promises"):
            list(ShardGroups(ShardSet(url, cache)))
        assert not list(cache.rglob("*shard-00000.tar")) and not list(cache.rglob("*.partial"))


def test_an_address_without_a_set(served, tmp_path):
    url, *_ = served
    with pytest.raises(SkyEyeError, match="nothing/index.json: .*(cannot be fetched|is not what)"):
        ShardSet(url.replace("/out", "/nothing"), tmp_path)


@pytest.mark.parametrize("url", ["pipe://x; rm -rf /", "file:///etc", "http://a/$(id)", "http://a/b c", "x://y"])
def test_addresses_that_a_shell_could_understand_are_refused(url, tmp_path):
    with pytest.raises(SkyEyeError, match="is no URL that shards are fetched from"):
        ShardSet(url, tmp_path)
