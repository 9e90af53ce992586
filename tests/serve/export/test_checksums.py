"""``SHA256SUMS``: what was changed, added or lost since an export."""

from __future__ import annotations

import hashlib

import pytest

from skyeye.errors import SkyEyeError
from skyeye.serve.export.checksums import FILE, write_checksums, wrong_files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "a.txt").write_bytes(b"abc")
    (tmp_path / "below/b.txt").write_bytes(b"")
    write_checksums(tmp_path)
    return tmp_path


def test_the_file_is_that_of_sha256sum(folder):
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of the standard
    assert (folder / FILE).read_text() == f"{abc}  a.txt\n{hashlib.sha256().hexdigest()}  below/b.txt\n"
    assert not list(wrong_files(folder))


def test_what_differs_is_named(folder):
    (folder / "a.txt").write_bytes(b"abd")
    (folder / "below/b.txt").unlink()
    (folder / "new.txt").write_bytes(b"")
    assert list(wrong_files(folder)) == [
        "new.txt is not listed in SHA256SUMS",
        "a.txt is not the file that was exported: its checksum differs",
        "below/b.txt is missing",
    ]


@pytest.mark.parametrize("line", ["abc", f"{'0' * 64}  /etc/passwd", f"{'0' * 64}  ../x", f"{'0' * 64} x"])
def test_a_damaged_file_is_refused_by_its_line(folder, line):
    (folder / FILE).write_text(line + "\n")
    with pytest.raises(SkyEyeError, match="line 1: is no line of checksums"):
        list(wrong_files(folder))
    (folder / FILE).unlink()
    with pytest.raises(SkyEyeError, match="was not written by skyeye export"):
        list(wrong_files(folder))
