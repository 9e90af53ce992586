from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.eval.metrics.base import Scores, Statistic, by_label, mean, mean_of, percent, ratio


def test_a_score_is_the_formula_of_the_sums():
    rows = np.array([[1.0, 2.0], [3.0, 6.0]])
    assert Statistic(rows, lambda sums: sums[..., 0] / sums[..., 1]).score == 0.5


def test_means_look_only_at_what_is_counted():
    assert mean([1, 2, 6]).score == 3
    assert percent([True, False, True, True]).score == 75
    # an item that is not counted adds nothing, whatever its value
    partly = mean([1, 5, float("nan")], [True, True, False])
    assert partly.score == 3
    assert partly.rows.tolist() == [[1, 1], [5, 1], [0, 0]]


def test_nothing_is_none():
    assert percent([]).score is None
    assert mean([4.0], [False]).score is None
    assert mean_of([], 3).score is None
    assert Scores({"a": percent([]), "b": percent([1])}, []).metrics == {"a": None, "b": 100}


def test_by_label_and_the_mean_of_the_labels():
    parts, counts = by_label("accuracy", ["b", None, "a", "b", "b"], [1, 1, 1, 0, 0])
    assert counts == {"a": 1, "b": 3}
    assert {name: part.score for name, part in parts.items()} == pytest.approx(
        {"accuracy/a": 100, "accuracy/b": 100 / 3}
    )
    whole = mean_of(list(parts.values()), 5)
    assert whole.score == pytest.approx((100 + 100 / 3) / 2)
    # weighing the items of "a" away leaves the mean of what is left
    weights = np.array([1, 1, 0, 1, 1])
    assert whole.value(weights @ whole.rows) == pytest.approx(100 / 3)


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=20))
def test_weights_are_the_same_as_items_that_stand_several_times(items):
    values, labels, weights = zip(*items, strict=True)
    repeated = [(v, x) for v, x, n in items for _ in range(n)]
    once = [percent(values), mean_of(list(by_label("x", labels, values)[0].values()), len(values))]
    again_values, again_labels = [v for v, _ in repeated], [x for _, x in repeated]
    again = [
        percent(again_values),
        mean_of(list(by_label("x", again_labels, again_values)[0].values()), len(repeated)),
    ]
    for statistic, expected in zip(once, again, strict=True):
        value = float(statistic.value(np.array(weights) @ statistic.rows))
        assert value == pytest.approx(np.nan if expected.score is None else expected.score, nan_ok=True, abs=1e-9)


def test_ratio_of_many_sums_at_once():
    assert ratio(np.array([1.0, 2.0, 0.0]), np.array([2.0, 0.0, 0.0])).tolist() == pytest.approx(
        [0.5, np.nan, np.nan], nan_ok=True
    )
