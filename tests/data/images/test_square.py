"""Pictures become square: the arithmetic of each way; originals' pixels are in tests/models/test_golden_llava.py."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from skyeye.data.images.square import padded, to_square

MEAN = (0.481, 0.457, 0.408)


@pytest.fixture
def striped():
    """Six columns of different greys, two rows."""
    return Image.fromarray(np.repeat(np.arange(6, dtype=np.uint8)[None, :, None] * 40, 2, axis=0).repeat(3, axis=2))


def test_padding_is_the_mean_colour_around_the_middle(striped):
    square = np.asarray(padded(striped, MEAN))
    assert square.shape == (6, 6, 3)
    assert np.array_equal(square[2:4], np.asarray(striped))
    assert {tuple(map(int, pixel)) for pixel in square[[0, 1, 4, 5]].reshape(-1, 3)} == {(122, 116, 104)}
    high = np.asarray(padded(striped.rotate(90, expand=True), MEAN))
    assert tuple(map(int, high[0, 0])) == (122, 116, 104) and high[0, 2, 0] == 200
    odd = np.asarray(padded(striped.crop((0, 0, 5, 2)), MEAN))  # three rows are left: one above, two below
    assert tuple(map(int, odd[0, 0])) == tuple(map(int, odd[3, 0])) == (122, 116, 104) and odd[1, 4, 0] == 160


def test_cropping_keeps_the_middle(striped):
    assert np.array_equal(np.asarray(to_square(striped, 2, "crop", MEAN))[0, :, 0], [80, 120])
    upright = to_square(striped.rotate(90, expand=True), 2, "crop", MEAN)
    assert np.array_equal(np.asarray(upright)[:, 0, 0], [120, 80])


@pytest.mark.parametrize("how", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size", [(5, 5), (1, 9), (9, 1), (7, 5)])
def test_every_way_gives_a_square(how, size):
    assert to_square(Image.new("RGB", size), 4, how, MEAN).size == (4, 4)


def test_a_square_picture_is_the_same_in_every_way():
    picture = Image.effect_noise((6, 6), 90).convert("RGB")
    made = [np.asarray(to_square(picture, 4, how, MEAN)) for how in ("stretch", "pad", "crop")]
    assert np.array_equal(made[0], made[1]) and np.array_equal(made[0], made[2])
