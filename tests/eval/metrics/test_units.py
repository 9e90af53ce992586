import pytest

from skyeye.data.record import Record, Turn
from skyeye.eval.metrics import by_unit, counting, vqa
from skyeye.eval.metrics.bootstrap import intervals
from skyeye.eval.results import Answer


def records(*units):
    return [
        Record(str(n), unit, "vqa", "test", (f"{n}.png",), (Turn("q", "1"),), {"answer": "1"})
        for n, unit in enumerate(units)
    ]


def test_units_are_scored_alone_and_averaged():
    """Of unit a one of three is right, of b one of one: 50 % of all, 2/3 on average over the units."""
    scores = by_unit(vqa, "accuracy")(records("a", "a", "a", "b"), [Answer(t) for t in ("1", "2", "3", "1")])
    assert scores.metrics["accuracy"] == 50
    assert scores.metrics["accuracy/a"] == pytest.approx(100 / 3) and scores.metrics["accuracy/b"] == 100
    assert scores.metrics["mean_over_units"] == pytest.approx((100 / 3 + 100) / 2)
    assert (scores.counts["a"], scores.counts["b"]) == (3, 1)
    low, high = intervals(scores, [r.images for r in records("a", "a", "a", "b")])["mean_over_units"]
    assert 0 <= low < high <= 100


def test_a_unit_without_anything_measured_is_not_in_the_mean():
    scores = by_unit(counting, "mae")(records("a", "b", ""), [Answer("4"), Answer("some"), Answer("1")])
    assert scores.metrics["mae/a"] == 3 and scores.metrics["mae/b"] is None and scores.metrics["mae/(none)"] == 0
    assert scores.metrics["mean_over_units"] == 1.5
