import os

import numpy as np
import pytest
from PIL import Image

from skyeye.curate.check.images import grey_levels, look_at, look_at_all
from skyeye.data.images.reference import format_reference


def test_a_picture_is_decoded(tmp_path, picture):
    picture(1).save(tmp_path / "a.png")
    picture(1).save(tmp_path / "a.bmp")
    seen, again = look_at(str(tmp_path / "a.png")), look_at(str(tmp_path / "a.bmp"))
    assert seen.size == (64, 64) and seen.error is None and seen.looks is not None
    assert seen == again
    assert look_at(str(tmp_path / "a.png"), decode=False) == type(seen)(size=(64, 64))


def test_a_truncated_file_shows_only_when_it_is_decoded(tmp_path, picture):
    picture(1, side=200).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    seen = look_at(str(tmp_path / "a.jpg"))
    assert seen.size is None and seen.looks is None and str(tmp_path / "a.jpg") in seen.error
    assert look_at(str(tmp_path / "a.jpg"), decode=False).size == (200, 200)


@pytest.mark.parametrize("decode", [True, False])
def test_what_cannot_be_read_is_said_and_nothing_hangs(tmp_path, decode):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("empty.png", "text.png", "folder.png", "pipe.png", "gone.png", "nul\0.png"):
        seen = look_at(str(tmp_path / name), decode)
        assert seen.size is None and seen.pixels is None and seen.error, name


def test_a_picture_is_nearly_constant_by_its_darkest_and_brightest_hundredth():
    dark = np.arange(1000, dtype=np.uint8).reshape(20, 50) % 11  # 0..10: 16 bits cut to their upper 8
    assert grey_levels(Image.fromarray(dark)) == 10
    dark[0, :10] = 255  # exactly a hundredth does not count
    assert grey_levels(Image.fromarray(dark)) == 10
    bright = np.zeros((20, 50, 3), np.uint8)
    bright[2:, :, 1] = 200
    assert grey_levels(Image.fromarray(bright)) == 200


def test_a_member_of_a_shard(tmp_path, picture):
    picture(3).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "s.tar").write_bytes(b"x" * 512 + content + b"y" * 512)
    reference = format_reference(tmp_path / "s.tar", offset=512, size=len(content))
    assert look_at(reference) == look_at(str(tmp_path / "a.png"))
    assert look_at(reference, decode=False).size == (64, 64)


def test_many_keep_their_order_whatever_the_number_of_workers(tmp_path):
    names = []
    for number in range(300):  # more than are handed out at a time
        names.append(str(tmp_path / f"{number}.png"))
        if number % 7:
            Image.new("L", (1 + number, 2)).save(names[-1])
    seen = list(look_at_all(names, workers=3))
    assert [look.size for look in seen] == [(1 + n, 2) if n % 7 else None for n in range(300)]
    assert list(look_at_all(names, workers=1)) == seen
