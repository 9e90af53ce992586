"""Sizes by hand, and by the function of transformers that the published processors use."""

from __future__ import annotations

import random

import pytest
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from skyeye.data.images.smart_resize import SmartResize


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((800, 800), (812, 812)),  # 28.57 patches become 29
        ((560, 280), (560, 280)),
        ((10, 20), (56, 84)),  # at least 3,136 pixels: grown by the root of 3,136 / 200, 3.96
        (
            (8000, 6000),
            (4116, 3080),
        ),  # at most 12,845,056: shrunk by 1.933, the root of 3.737, to 147.8 x 110.9 patches
    ],
)
def test_sizes_by_hand(size, resized):
    assert SmartResize()(size) == resized


def test_sizes_are_those_of_the_published_processor():
    rng = random.Random(0)
    for _ in range(300):
        size = rng.randint(8, 3000), rng.randint(8, 3000)
        rule = SmartResize(rng.choice((28, 32)), 56 * 56, rng.choice((200_704, 1_003_520, 12_845_056)))
        if max(size) / min(size) > 200:
            continue
        height, width = smart_resize(size[1], size[0], rule.factor, rule.least, rule.most)
        assert rule(size) == (width, height)
