from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.geometry.boxes import Box
from skyeye.eval.metrics.iou import _overlaps, areas, matched_boxes, overlap

hundredths = st.integers(0, 100)
boxes = st.tuples(hundredths, hundredths, hundredths, hundredths).map(
    lambda n: Box(min(n[0], n[2]) / 100, min(n[1], n[3]) / 100, max(n[0], n[2]) / 100, max(n[1], n[3]) / 100)
)


def test_matching_is_the_best_one_not_the_first():
    # the first found box fits both truths, the second only the first truth: greedy in order would find one pair
    truths = [Box(0.0, 0.0, 0.4, 1.0), Box(0.1, 0.0, 0.5, 1.0)]
    found = [Box(0.05, 0.0, 0.45, 1.0), Box(0.0, 0.0, 0.35, 1.0)]
    assert matched_boxes(found, truths) == 2
    assert matched_boxes(found[:1] * 2, truths[:1]) == 1  # a repeated box is used once
    assert matched_boxes([], truths) == matched_boxes(found, []) == 0


def test_areas_by_hand():
    assert areas(Box(0, 0, 0.4, 0.5), Box(0.2, 0, 0.6, 0.5)) == pytest.approx((0.1, 0.3))
    assert areas(Box(0, 0, 0.1, 0.1), Box(0.5, 0.5, 0.6, 0.7)) == pytest.approx((0, 0.03))


def test_half_an_overlap_is_not_above_one_half():
    whole, half = Box(0.2, 0.2, 0.6, 0.6), Box(0.2, 0.2, 0.6, 0.4)
    assert overlap(whole, half) == 0.5
    assert matched_boxes([half], [whole]) == 0
    assert matched_boxes([half], [whole], threshold=0.49) == 1


@given(st.lists(boxes, min_size=1, max_size=5), st.lists(boxes, min_size=1, max_size=5))
def test_many_at_once_are_the_same_as_one_by_one(a, b):
    assert _overlaps(a, b).tolist() == [[overlap(x, y) for y in b] for x in a]


@given(boxes, boxes)
def test_areas_agree_with_the_iou(a, b):
    both, union = areas(a, b)
    assert overlap(a, b) == pytest.approx(both / union if union else 0, abs=1e-8)


def test_thousands_of_boxes_take_no_time():
    truth = [Box(0.1, 0.1, 0.3, 0.3)] * 50
    assert matched_boxes([Box(0.6, 0.6, 0.8, 0.8)] * 20_000 + truth[:2], truth) == 2
