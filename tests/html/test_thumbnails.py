from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from skyeye.errors import SkyEyeError
from skyeye.html.thumbnails import Outline, outline, thumbnail


def test_outline_of_a_box_and_of_a_polygon():
    assert outline((0.1, 0.2, 0.3, 0.45678), "answer", "a ship") == Outline(
        "10.0,20.0 30.0,20.0 30.0,45.68 10.0,45.68", "answer", "a ship", 10.0, 20.0
    )
    assert (
        outline([0.5, 0.0, 1.0, 0.5, 0.5, 1.0, 0.0, 0.5], "known").points == "50.0,0.0 100.0,50.0 50.0,100.0 0.0,50.0"
    )


def test_a_label_stays_in_the_picture():
    drawn = outline((-0.2, 0.99, 0.5, 1.2), "answer")
    assert (drawn.x, drawn.y) == (0.0, 94.0) and drawn.points.startswith("-20.0,99.0")


def test_thumbnail(tmp_path):
    Image.new("RGB", (600, 300), (200, 30, 30)).save(tmp_path / "a.png")
    url = thumbnail(str(tmp_path / "a.png"), 120)
    head, content = url.split(",")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert head == "data:image/jpeg;base64" and image.format == "JPEG" and image.size == (120, 60)
    with pytest.raises(SkyEyeError, match="gone"):
        thumbnail(str(tmp_path / "gone.png"), 120)
