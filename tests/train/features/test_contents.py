"""A picture is known by its bytes; remembering a file is only a shorter way to the same answer."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from skyeye.data.images.reference import format_reference
from skyeye.errors import SkyEyeError
from skyeye.train.features import contents as module
from skyeye.train.features.contents import Contents


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "a.jpg").write_bytes(b"0123456789")
    return tmp_path / "a.jpg"


def _saved(contents: Contents, path: Path) -> Path:
    path.write_bytes(np.stack(contents.news).tobytes())
    return path


def test_the_digest_is_that_of_the_bytes_under_any_name_and_inside_a_shard(file, tmp_path):
    shutil.copy(file, tmp_path / "b.png")
    (tmp_path / "shard.tar").write_bytes(b"abc0123456789xyz")
    member = format_reference(tmp_path / "shard.tar", offset=3, size=10)
    contents = Contents(tmp_path / "names.bin")
    names = [str(file), os.path.relpath(file), str(tmp_path / "b.png"), member]
    assert {contents.digest(name) for name in names} == {hashlib.sha256(b"0123456789").digest()}
    assert len(contents.news) == 3  # the relative name is the same file


def test_bands_stretch_and_frame_are_part_of_what_is_seen(file, tmp_path):
    contents = Contents(tmp_path / "names.bin")
    choices = [{}, {"bands": "1"}, {"bands": "2"}, {"stretch": "2,98"}, {"bands": "1", "stretch": "2,98"}, {"frame": 1}]
    digests = {contents.digest(format_reference(file, **details)) for details in choices}
    assert len(digests) == len(choices)
    assert len(contents.news) == 1  # one file, read once


def test_a_file_that_was_not_touched_is_not_read_again(file, tmp_path, monkeypatch):
    first = Contents(tmp_path / "none.bin")
    digest = first.digest(str(file))
    again = Contents(_saved(first, tmp_path / "names.bin"))
    monkeypatch.setattr(module, "read_bytes", lambda _: pytest.fail("the file was read"))
    assert again.digest(str(file)) == digest and not again.news


@pytest.mark.parametrize("new", [b"abcdefghij", b"longer than before"])
def test_a_file_that_was_replaced_is_read_again_even_with_its_old_time(file, tmp_path, new):
    contents = Contents(tmp_path / "none.bin")
    contents.digest(str(file))
    names, times = _saved(contents, tmp_path / "names.bin"), os.stat(file)
    (tmp_path / "new").write_bytes(new)
    os.replace(tmp_path / "new", file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert Contents(names).digest(str(file)) == hashlib.sha256(new).digest()


def test_damaged_memory_is_not_believed(file, tmp_path):
    contents = Contents(tmp_path / "none.bin")
    right = contents.digest(str(file))
    names = _saved(contents, tmp_path / "names.bin")
    whole = names.read_bytes()
    for place in range(len(whole)):
        names.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert Contents(names).digest(str(file)) == right
    names.write_bytes(whole + whole[:20])
    assert not Contents(names).news and Contents(names).digest(str(file)) == right


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SkyEyeError, match="nowhere.jpg: cannot be read"):
        Contents(tmp_path / "names.bin").digest(str(tmp_path / "nowhere.jpg"))


def test_a_file_that_is_written_meanwhile_is_refused(file, tmp_path, monkeypatch):
    real = module.read_bytes

    def slow(reference):
        content = real(reference)
        file.write_bytes(b"something else")
        return content

    monkeypatch.setattr(module, "read_bytes", slow)
    with pytest.raises(SkyEyeError, match="changed while it was read"):
        Contents(tmp_path / "names.bin").digest(str(file))
