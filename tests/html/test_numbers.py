import pytest

from skyeye.html.numbers import duration, short


def test_numbers_are_short():
    values = {1234567: "1.23M", 12345: "12.3k", 2.5: "2.5", 0.00001: "1e-05", 0: "0", 3e9: "3G", 999: "999"}
    assert {value: short(value) for value in values} == values


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0 s"), (99.4, "99 s"), (150, "2 min"), (5999, "100 min"), (9000, "2.5 h")]
)
def test_seconds_in_words(seconds, expected):
    assert duration(seconds) == expected
