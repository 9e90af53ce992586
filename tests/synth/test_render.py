from __future__ import annotations

import numpy as np
import pytest

from skyeye.synth.objects import PADS, draw_thing
from skyeye.synth.render import draw_clip, draw_scene
from skyeye.synth.scene import COLOURS, GROUNDS, KINDS, Clip, Scene, Thing, make_clip

#: What the colour words mean, apart from the shades that the module paints with.
MEANING = {
    "red": (225, 35, 35),
    "blue": (40, 90, 235),
    "white": (240, 240, 240),
    "yellow": (245, 215, 40),
    "green": (80, 200, 70),
}


def most_seen(tile: np.ndarray, palette: dict[str, tuple[int, int, int]], within: int) -> str:
    """The colour of the palette that most pixels are close to."""
    seen = {name: int((np.abs(tile - colour).sum(-1) < within).sum()) for name, colour in palette.items()}
    return max(seen, key=seen.__getitem__)


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("size", [56, 112, 200])
def test_every_ground_draws_at_every_size_and_has_texture(ground: str, size: int) -> None:
    picture = draw_scene(Scene(ground, ()), np.random.default_rng(1), size)
    assert picture.size == (size, size) and picture.mode == "RGB"
    assert np.asarray(picture, np.float32).std(axis=(0, 1)).max() > 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", COLOURS)
def test_kind_shows_in_the_pad_and_colour_in_the_paint(kind: str, colour: str) -> None:
    tile = np.asarray(draw_thing(kind, colour, np.random.default_rng(2), 60, 60), np.float32)
    assert most_seen(tile, PADS, within=45) == kind
    assert most_seen(tile[12:-12, 12:-12], MEANING, within=90) == colour


def test_an_object_fills_its_box_and_nothing_else() -> None:
    """On a plain ground the pixels that an object changes span exactly its box."""
    box = (28 / 112, 14 / 112, 70 / 112, 56 / 112)
    pictures = []
    for things in ((), (Thing("court", "red", "large", box),)):
        pictures.append(np.asarray(draw_scene(Scene("desert", things), np.random.default_rng(3), 112), np.float32))
    # the object draws from the same generator, so grain and light differ everywhere, but little
    rows, columns = np.nonzero(np.abs(pictures[1] - pictures[0]).max(axis=2) > 70)
    assert abs(columns.min() - 28) <= 1 and abs(columns.max() - 69) <= 1
    assert abs(rows.min() - 14) <= 1 and abs(rows.max() - 55) <= 1


def test_frames_differ_where_the_object_moves_and_are_equal_when_it_is_still() -> None:
    boxes = tuple((x, 0.375, x + 0.25, 0.625) for x in (0.0625, 0.25, 0.4375, 0.625))
    moving = [np.asarray(f, int) for f in draw_clip(Clip("desert", "ship", "red", "right", False, boxes), rng(), 112)]
    changed = np.abs(moving[0] - moving[3]).max(axis=2) > 60
    assert changed[:, 7:35].any() and changed[:, 70:98].any() and not changed[:, 38:66].any()
    still = draw_clip(Clip("desert", "ship", "red", "still", False, boxes[:1] * 4), rng(), 112)
    assert all(np.array_equal(np.asarray(still[0]), np.asarray(frame)) for frame in still)


def test_same_generator_same_pixels() -> None:
    clip = make_clip(rng())
    for first, second in zip(draw_clip(clip, rng(), 112), draw_clip(clip, rng(), 112), strict=True):
        assert np.array_equal(np.asarray(first), np.asarray(second))


def rng() -> np.random.Generator:
    return np.random.default_rng(7)
