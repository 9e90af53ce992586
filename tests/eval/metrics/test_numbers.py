import math

import pytest

from skyeye.data.record import Record, Turn
from skyeye.eval.metrics.numbers import counting, measures, numbers_in
from skyeye.eval.results import Answer


def records(*truths, **more):
    return [
        Record(
            str(n), "s", "counting", "test", (), (Turn("q", t),), {"answer": t, **{k: v[n] for k, v in more.items()}}
        )
        for n, t in enumerate(truths)
    ]


def said(*texts):
    return [Answer(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3", [3]),
        ("There are 12 ships and 1,204 cars.", [12, 1204]),
        ("0.15 m", [0.15]),
        (".5", [0.5]),
        ("twenty-three", [23]),
        ("thirty ships, five cars", [30, 5]),
        ("none", [0]),
        ("image2 shows a4", []),
        ("", []),
        ("many", []),
        ("9" * 40, []),
    ],
)
def test_numbers(text, numbers):
    assert numbers_in(text) == numbers


def test_counts():
    """Errors 0, 1 and 3, and one answer without a number: 1/4 exact, 2/4 within one, mean 4/3, root mean square."""
    scores = counting(records("3", "4", "10", "2"), said("3", "five", "about 7", "some"))
    assert scores.metrics == {
        "within_1": 50,
        "accuracy": 25,
        "mae": pytest.approx(4 / 3),
        "rmse": pytest.approx(math.sqrt(10 / 3)),
    }
    assert scores.counts == {"answers without a number": 1}
    parts = counting(records("3", "4", type=("ship", "car")), said("3", "9")).metrics
    assert (parts["within_1/ship"], parts["within_1/car"], parts["accuracy/ship"]) == (100, 0, 100)
    assert counting(records("3"), said("")).metrics["mae"] is None


def test_measures():
    """Truths 0.5 and (20, 10): off by 0.04 (8 %), and by 2 and 0 (10 %, 0 %)."""
    scores = measures(records("0.5 m", "20 m, 10 m", "7"), said("0.54", "22 by 10", "7 or 8"))
    assert scores.metrics == {
        "within_10_percent": pytest.approx(200 / 3),
        "mae": pytest.approx(2.04 / 3),
        "rmse": pytest.approx(math.sqrt((0.04**2 + 4) / 3)),
        "mape": pytest.approx(6),
    }
    assert scores.counts == {"answers without these numbers": 1}
