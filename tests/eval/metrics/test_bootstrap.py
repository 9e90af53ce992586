from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyeye.errors import SkyEyeError
from skyeye.eval.metrics import bootstrap
from skyeye.eval.metrics.base import Scores, by_label, mean, mean_of, percent
from skyeye.eval.metrics.bootstrap import intervals, mcnemar, paired


def scored(**statistics) -> Scores:
    return Scores(statistics, [])


def test_two_images_by_hand():
    # image A has one right of two, B one of one. Drawn: AA 50, AB and BA 100 x 2/3, BB 100, each a quarter of the time
    scores = scored(accuracy=percent([1, 0, 1]))
    clusters = ["A", "A", "B"]
    assert intervals(scores, clusters)["accuracy"] == pytest.approx((50, 100))
    # the middle half of the draws lies at 2/3
    low, high = intervals(scores, clusters, resamples=4000, level=0.4)["accuracy"]
    assert (low, high) == pytest.approx((200 / 3, 200 / 3))
    # were questions drawn instead of images, 0 would be among the draws, too (1/27 of them)
    assert intervals(scores, [0, 1, 2])["accuracy"][0] == 0


def test_a_constant_is_a_point():
    clusters = [i // 3 for i in range(30)]
    scores = scored(a=percent([1] * 30), b=mean([0.3] * 30), c=percent([0] * 30))
    bounds = intervals(scores, clusters)
    assert bounds["a"] == (100, 100) and bounds["c"] == (0, 0)
    assert bounds["b"] == pytest.approx((0.3, 0.3))


def test_one_image_or_nothing_has_no_interval():
    assert intervals(scored(a=percent([1, 0])), ["A", "A"]) == {"a": None}
    assert intervals(scored(a=percent([])), []) == {"a": None}
    # the part rests on one image only, whatever else was asked
    parts, _ = by_label("a", ["count", "count", "other", "other"], [1, 0, 1, 0])
    bounds = intervals(scored(**parts), ["A", "A", "B", "C"])
    assert bounds["a/count"] is None and bounds["a/other"] == (0, 100)


def test_draws_without_any_of_a_type_do_not_count_for_it():
    hits, labels = [1, 1] + [0] * 8, ["rare", "rare"] + ["often"] * 8
    parts, _ = by_label("a", labels, hits)
    scores = scored(**parts, whole=mean_of(list(parts.values()), 10))
    bounds = intervals(scores, range(10))
    assert bounds["a/rare"] == (100, 100) and bounds["a/often"] == (0, 0)
    assert bounds["whole"] == (0, 50)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4)), min_size=2, max_size=20), st.integers(0, 5))
def test_the_draws_are_those_of_images(items, seed):
    values, clusters = zip(*items, strict=True)
    bounds = intervals(scored(a=mean(values)), clusters, resamples=50, seed=seed)["a"]
    order = list(dict.fromkeys(clusters))
    if len(order) < 2:
        assert bounds is None
        return
    # the same, the long way: whole images drawn, their items put in a row
    drawn = []
    for weights in bootstrap._weights(len(order), 50, seed):
        for row in weights.astype(int):
            chosen = [v for image, n in zip(order, row, strict=True) for v, c in items if c == image for _ in range(n)]
            drawn.append(np.mean(chosen))
    assert len(drawn) == 50
    assert bounds == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=1e-12)


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 3), st.integers(1, 200))
def test_weights_do_not_depend_on_how_many_are_held_at_once(clusters, resamples, seed, at_once):
    whole = np.concatenate(list(bootstrap._weights(clusters, resamples, seed)))
    assert whole.shape == (resamples, clusters)
    assert (whole.sum(axis=1) == clusters).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "_AT_ONCE", at_once)
        assert (np.concatenate(list(bootstrap._weights(clusters, resamples, seed))) == whole).all()


def test_every_image_is_drawn_as_often_as_any_other():
    weights = np.concatenate(list(bootstrap._weights(5, 20_000, 0)))
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.03)
    assert weights.var(axis=0) == pytest.approx(1 - 1 / 5, abs=0.03)  # multinomial


def test_the_seed_decides():
    scores = scored(a=mean(np.random.default_rng(0).random(40)))
    assert intervals(scores, range(40), seed=1) == intervals(scores, range(40), seed=1)
    assert intervals(scores, range(40), seed=1) != intervals(scores, range(40), seed=2)


def _test_set(rng: np.random.Generator, images: int = 60, questions: int = 6) -> tuple[np.ndarray, list[int]]:
    """Right or wrong answers, right half of the time; how hard they are depends on the image."""
    hard = np.repeat(rng.beta(0.5, 0.5, images), questions)
    return rng.random(images * questions) < hard, [i for i in range(images) for _ in range(questions)]


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(5)
    held = {"images": 0, "questions": 0}
    for seed in range(300):
        hits, images = _test_set(rng)
        for kind, clusters in (("images", images), ("questions", range(len(images)))):
            low, high = intervals(scored(a=percent(hits)), clusters, resamples=200, seed=seed)["a"]
            held[kind] += low <= 50 <= high
    assert 0.91 <= held["images"] / 300 <= 0.98
    assert held["questions"] / 300 < 0.85  # questions of one image are not independent


def test_equal_systems_do_not_differ():
    hits = np.random.default_rng(1).random(50) < 0.5
    other = percent(hits.copy())
    result = paired(scored(a=percent(hits), b=mean(hits)), scored(a=other), range(50))
    assert list(result) == ["a"]
    assert (result["a"].difference, result["a"].low, result["a"].high, result["a"].p) == (0, 0, 0, 1)


def test_a_difference_by_hand():
    # three images: a is right where b is wrong on the first; both are right on the second and wrong on the third
    a, b = scored(x=percent([1, 1, 0])), scored(x=percent([0, 1, 0]))
    result = paired(a, b, range(3), resamples=20_000)["x"]
    assert (result.a, result.b) == pytest.approx((200 / 3, 100 / 3))
    assert result.difference == pytest.approx(-100 / 3)  # the second minus the first
    # the first is drawn k of 3 times: 0 of them has chance (2/3)^3 = 8/27, and all others have a > b
    assert result.p == pytest.approx(float(2 * Fraction(8, 27)), abs=0.02)
    assert (result.low, result.high) == pytest.approx((-100, 0))
    back = paired(b, a, range(3), resamples=20_000)["x"]
    assert (back.difference, back.p) == (-result.difference, result.p)
    assert (back.low, back.high) == (-result.high, -result.low)


def test_p_has_a_floor_and_both_see_the_same_draws():
    rng = np.random.default_rng(2)
    b = rng.random(80)
    result = paired(scored(x=mean(b)), scored(x=mean(b + 0.01)), range(80), resamples=999)["x"]
    assert result.p == 2 / 1000
    # b moves by far more than 0.01 between draws, the difference not at all
    assert (result.low, result.high) == pytest.approx((0.01, 0.01))


def test_systems_of_equal_strength_are_told_apart_as_often_as_chance_says():
    rng = np.random.default_rng(3)
    ps = []
    for seed in range(200):
        hard = rng.random(60).repeat(4)
        a, b = (scored(x=percent(rng.random(240) < hard)) for _ in range(2))
        ps.append(paired(a, b, [i // 4 for i in range(240)], resamples=200, seed=seed)["x"].p)
    assert 0.01 <= np.mean(np.array(ps) < 0.05) <= 0.1
    assert 0.35 <= np.mean(np.array(ps) < 0.5) <= 0.65


def test_what_cannot_be_paired():
    with pytest.raises(SkyEyeError, match="same questions"):
        paired(scored(x=percent([1, 0])), scored(x=percent([1])), range(2))
    with pytest.raises(SkyEyeError, match="same questions"):
        intervals(scored(x=percent([1, 0])), range(3))
    with pytest.raises(SkyEyeError, match="same questions"):
        mcnemar([True], [True, False])
    one_image = paired(scored(x=percent([1, 0])), scored(x=percent([0, 0])), [0, 0])["x"]
    assert (one_image.difference, one_image.low, one_image.high, one_image.p) == (-50, None, None, None)
    assert paired(scored(x=percent([])), scored(x=percent([])), []) == {}


def test_mcnemar_by_hand():
    a = [True] * 9 + [False] + [True] * 5 + [False] * 5 + [None]
    b = [False] * 9 + [True] + [True] * 5 + [False] * 5 + [True]
    result = mcnemar(a, b)
    assert (result.only_a, result.only_b) == (9, 1)
    assert result.p == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(b, a).p == result.p
    assert mcnemar([True, False], [True, False]).p == 1
    assert mcnemar([None], [None]) is None


def test_memory_is_bounded():
    hits = np.random.default_rng(0).random(200_000) < 0.7
    parts, _ = by_label("a", [str(i % 4) for i in range(200_000)], hits)
    scores = scored(a=percent(hits), whole=mean_of(list(parts.values()), 200_000), **parts)
    tracemalloc.start()
    try:
        low, high = intervals(scores, range(200_000), resamples=100)["a"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    error = 100 * (0.7 * 0.3 / 200_000) ** 0.5
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.25)
    assert peak < 300e6
