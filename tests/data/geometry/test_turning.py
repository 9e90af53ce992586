"""Boxes of turned pictures: the truth is where a painted rectangle lies once the picture is shown."""

import numpy as np
import pytest
from PIL import Image

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.geometry.turning import turned_box, turned_place, turned_polygon
from skyeye.data.images.load import load_image, stored_size


@pytest.fixture(params=range(1, 9))
def painted(request, tmp_path):
    """A stored picture of 80 x 40 with a white rectangle 8, 4, 24, 12, its orientation, and where it is shown."""
    exif = Image.Exif()
    exif[0x0112] = request.param
    picture = Image.new("L", (80, 40))
    picture.paste(255, (8, 4, 24, 12))
    picture.save(tmp_path / "a.png", exif=exif)
    assert stored_size(tmp_path / "a.png") == ((80, 40), request.param)
    shown = np.asarray(load_image(tmp_path / "a.png"))[..., 0]
    ys, xs = np.nonzero(shown)
    height, width = shown.shape
    return request.param, (xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height)


def test_a_box_is_where_the_picture_shows_it(painted):
    orientation, expected = painted
    stored = Box.from_pixels(8, 4, 24, 12, 80, 40)
    assert turned_box(stored, orientation).as_tuple() == pytest.approx(expected)
    assert turned_polygon(OrientedBox.from_box(stored), orientation).upright().as_tuple() == pytest.approx(expected)
    assert turned_place(stored, orientation) == turned_box(stored, orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_corners_in_the_wrong_order_stay_so(orientation):
    box = turned_box(Box(0.6, 0.5, 0.2, 0.1), orientation)
    assert box.x1 > box.x2 and box.y1 > box.y2
