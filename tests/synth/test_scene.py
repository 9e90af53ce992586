from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.synth.scene import COLOURS, FRAMES, GROUNDS, KINDS, RURAL, URBAN, make_clip, make_scene

seeds = st.integers(0, 2**63)
SCENES = [make_scene(np.random.default_rng([5, seed])) for seed in range(3000)]


@given(seeds)
def test_boxes_lie_in_the_image_on_whole_pixels_and_apart(seed: int) -> None:
    boxes = [thing.box for thing in make_scene(np.random.default_rng(seed)).things]
    for x1, y1, x2, y2 in boxes:
        assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
        assert 0.24 <= x2 - x1 <= 0.5 and 0.24 <= y2 - y1 <= 0.5
        assert all(abs(edge * 112 - round(edge * 112)) < 1e-9 for edge in (x1, y1, x2, y2))
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@given(seeds)
def test_no_two_objects_share_colour_and_kind(seed: int) -> None:
    scene = make_scene(np.random.default_rng(seed))
    assert 1 <= len(scene.things) <= 4
    assert len({thing.phrase for thing in scene.things}) == len(scene.things)


@given(seeds)
def test_a_size_word_says_how_large_the_box_is(seed: int) -> None:
    for thing in make_scene(np.random.default_rng(seed)).things:
        area = (thing.box[2] - thing.box[0]) * (thing.box[3] - thing.box[1])
        assert thing.size == ("large" if area > 0.34**2 else "small")


@given(seeds)
def test_a_clip_moves_as_it_says_and_only_so(seed: int) -> None:
    clip = make_clip(np.random.default_rng(seed))
    assert len(clip.boxes) == FRAMES
    assert all(0 <= edge <= 1 for box in clip.boxes for edge in box)
    steps = {(np.sign(b[0] - a[0]), np.sign(b[1] - a[1])) for a, b in zip(clip.boxes, clip.boxes[1:], strict=False)}
    expected = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
    assert steps == {expected[clip.motion]}


def test_half_of_the_grounds_are_rural_and_everything_occurs() -> None:
    assert len(RURAL) == len(URBAN) == 4 and not set(RURAL) & set(URBAN)
    grounds = Counter(scene.ground for scene in SCENES)
    assert set(grounds) == set(GROUNDS) and all(300 < number < 450 for number in grounds.values())  # 375 expected
    assert {thing.phrase for scene in SCENES for thing in scene.things} == {f"{c} {k}" for c in COLOURS for k in KINDS}
    numbers = Counter(len(scene.things) for scene in SCENES)
    assert all(numbers[n] > 400 for n in (1, 2, 3, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_the_ground_says_nothing_about_the_objects(kind: str) -> None:
    """A kind is as frequent on one ground as on another; otherwise a question could be answered from the ground."""
    overall = np.mean([scene.count(kind) > 0 for scene in SCENES])
    for ground in GROUNDS:
        share = np.mean([scene.count(kind) > 0 for scene in SCENES if scene.ground == ground])
        assert abs(share - overall) < 0.11  # 4.5 standard deviations of 375 scenes
