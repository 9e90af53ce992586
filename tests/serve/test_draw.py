"""Boxes over a picture: where they are drawn, and where their labels stand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from skyeye.serve.answer import LocatedBox
from skyeye.serve.draw import COLOURS, colours_of, draw_boxes


def places(picture, colour):
    return np.argwhere((np.asarray(picture) == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(-1))


def test_a_box_is_drawn_where_it_is():
    image = Image.new("RGB", (100, 200), "green")
    drawn = draw_boxes(image, [LocatedBox("", (20, 100, 60, 150))])
    assert drawn.size == (500, 1000)  # five times as large: the shorter side would be below 448
    red = places(drawn, COLOURS[0])
    expected = [0.5 * 999, 0.2 * 499, 0.75 * 999, 0.6 * 499]
    assert [*red.min(0), *red.max(0)] == pytest.approx(expected, abs=2)
    assert image.getpixel((20, 100)) == (0, 128, 0)  # the picture itself is untouched


def test_labels_have_colours_and_stay_inside():
    boxes = [
        LocatedBox("", (0, 0, 448, 134.4)),
        LocatedBox("a long dock on the right", (403.2, 0, 448, 403.2)),
    ]
    drawn = draw_boxes(Image.new("RGB", (448, 448)), boxes)
    first, second = (places(drawn, colour) for colour in COLOURS[:2])
    assert first[:, 0].max() == pytest.approx(134.4, abs=2) and first[:, 1].max() > 440
    # The second box begins at 403 of 448: its label would leave the picture, above and to the right.
    assert second[:, 0].min() <= 1 and second[:, 1].min() < 350 and len(second) > 1500


def test_labels_of_equal_boxes_do_not_cover_each_other():
    box = (100, 100, 200, 200)
    ground = Image.new("RGB", (448, 448))
    alone = [len(places(draw_boxes(ground, [LocatedBox(name, box)]), COLOURS[0])) for name in "abc"]
    together = draw_boxes(ground, [LocatedBox(name, box) for name in "abc"])
    assert colours_of("abca") == dict(zip("abc", COLOURS, strict=False))
    filled = [len(places(together, COLOURS[n])) for n in range(3)]
    outline = len(places(draw_boxes(ground, [LocatedBox("", box)]), COLOURS[0]))
    assert all(own >= whole - outline - 40 for own, whole in zip(filled, alone, strict=True))


def test_a_turned_box_is_drawn_by_its_corners_and_a_lenient_one_is_dashed():
    diamond = LocatedBox("", (100, 100, 300, 300), polygon=((200, 100), (300, 200), (200, 300), (100, 200)))
    drawn = draw_boxes(Image.new("RGB", (448, 448)), [diamond])
    assert drawn.getpixel((200, 100)) != (0, 0, 0) and drawn.getpixel((100, 100)) == (0, 0, 0)
    whole = len(places(draw_boxes(Image.new("RGB", (448, 448)), [LocatedBox("", (50, 50, 400, 400))]), COLOURS[0]))
    marked = LocatedBox("", (50, 50, 400, 400), marks=("corners swapped",))
    dashed = len(places(draw_boxes(Image.new("RGB", (448, 448)), [marked]), COLOURS[0]))
    assert 0.4 * whole < dashed < 0.7 * whole


def test_what_leaves_the_picture_is_cut_off():
    outside = LocatedBox("", (0, 0, 40, 40), polygon=((-500, 20), (20, -500), (900, 20), (20, 900)))
    draw_boxes(Image.new("RGB", (40, 40)), [outside])
