"""Curves as SVG: gaps, spikes and the numbers at the axes."""

import pytest

from skyeye.html.line_chart import MOST_POINTS, Curve, chart, thinned, ticks


def test_gaps_single_points_and_level_lines():
    drawn = chart("x", "", [Curve("a", 0, [(0, 1.0), (1, 1.0), (2, None), (3, 1.0)])], (0, 3))
    assert drawn.paths[0].d.count("M") == 1 and len(drawn.paths[0].dots) == 1
    assert chart("x", "", [Curve("a", 0, [(0, None)])], (0, 3)) is None
    assert len({y for y, _ in drawn.y_ticks}) > 1


def test_a_spike_of_one_step_survives_a_long_run():
    points = [(x, 1.0 + (x % 7) / 100) for x in range(100_000)]
    points[54_321] = (54_321, 99.0)
    points[77_777] = (77_777, -5.0)
    kept = thinned(points)
    assert len(kept) <= MOST_POINTS + 2 and (54_321, 99.0) in kept and (77_777, -5.0) in kept
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0.1, 0.32, [0.1, 0.15, 0.2, 0.25, 0.3]), (-1e-5, 1e-5, None), (0, 7e8, None)],
)
def test_ticks_are_round_and_few(low, high, expected):
    found = ticks(low, high)
    assert expected is None or found == pytest.approx(expected)
    assert 3 <= len(found) <= 6 and low - 1e-9 <= found[0] and found[-1] <= high + 1e-9
