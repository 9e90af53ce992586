"""Files are whole or not there; a place that cannot be written to is said with what to do."""

from __future__ import annotations

import errno
import os

import pytest

from skyeye.data.files import check_new_file, check_new_folder, flush_to_disk, write_json, write_whole
from skyeye.errors import SkyEyeError

REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "choose another place",
    errno.EACCES: "permissions",
    errno.ENAMETOOLONG: "a shorter name",
    errno.EMFILE: "ulimit -n",
}


@pytest.mark.parametrize("number", REMEDIES)
def test_what_the_system_refuses_has_its_remedy_and_leaves_nothing(tmp_path, monkeypatch, number):
    def refused(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", refused)
    place = tmp_path / "out" / "scores.json"
    for write in (lambda: write_json(place, {}), lambda: check_new_file(place), lambda: check_new_folder(place.parent)):
        with pytest.raises(SkyEyeError, match=f"cannot be written: {os.strerror(number)} .*{REMEDIES[number]}") as told:
            write()
        assert str(told.value).startswith(str(tmp_path / "out")) and "\n" not in str(told.value)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_place_is_tried_and_left_as_it_was(tmp_path):
    (tmp_path / "file").touch()
    check_new_file(tmp_path / "new" / "deep" / "r.json")
    check_new_folder(tmp_path / "new" / "deep")
    check_new_file(tmp_path / "file")
    check_new_folder(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]
    for check, place, remedy in (
        (check_new_file, "file/r.json", "a folder on the way there is a file"),
        (check_new_folder, "file/runs", "a folder on the way there is a file"),
        (check_new_folder, "file", "a file has that name"),
        (check_new_file, ".", "give the name of a file"),
        (check_new_file, "new/" + "x" * 300, "a shorter name"),
        (check_new_folder, "new/" + "x" * 300 + "/y", "a shorter name"),
    ):
        with pytest.raises(SkyEyeError, match=remedy):
            check(tmp_path / place)
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_device_is_written_to_and_not_replaced(tmp_path):
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    with pytest.raises(SkyEyeError, match="No space left"):
        write_whole(link, "text")
    write_whole("/dev/null", "text")
    assert link.is_symlink() and not os.path.isfile("/dev/null") and os.listdir(tmp_path) == ["full"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS])
def test_a_mount_that_cannot_flush_folders_is_used_all_the_same(tmp_path, monkeypatch, number):
    def refused(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(number, os.strerror(number))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.fsync", refused)
    flush_to_disk(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        flush_to_disk(tmp_path / "file")
