"""Areas, parts and smallest rectangles of polygons, by arithmetic."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.geometry.polygons import clip_polygon, polygon_area, rectangle_corners, smallest_rectangle

UNIT = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]


def test_area_does_not_depend_on_the_direction():
    assert polygon_area([(0, 0), (4, 0), (0, 3)]) == polygon_area([(0, 3), (4, 0), (0, 0)]) == 6.0


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)], 0.25),  # inside
        ([(0.5, 0.5), (1.5, 0.5), (1.5, 1.5), (0.5, 1.5)], 0.25),  # a corner
        ([(-1, -1), (2, -1), (2, 2), (-1, 2)], 1.0),  # around
        ([(0.5, -0.5), (1.5, 0.5), (0.5, 1.5), (-0.5, 0.5)], 1.0),  # a diamond through all four corners
        ([(0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.0, 0.5)], 0.5),  # a diamond that touches
        ([(2, 2), (3, 2), (3, 3)], 0.0),  # outside
        (
            [(0, -1), (1, -1), (1, 2), (0.5, 0.5), (0, 2)],
            11 / 12,
        ),  # concave: a notch, 1/3 wide at the border and 1/2 deep
    ],
)
def test_part_inside(points, area, direction):
    part = clip_polygon(points[::direction], UNIT[::direction])
    assert math.isclose(polygon_area(part) if part else 0.0, area, abs_tol=1e-12)


def test_corners_of_a_turned_rectangle_go_clockwise_as_seen():
    corners = rectangle_corners(10, 20, 4, 2, 90)  # y is downwards: the upper left corner goes to the upper right
    expected = [(11, 18), (11, 22), (9, 22), (9, 18)]
    assert all(math.dist(a, b) < 1e-9 for a, b in zip(corners, expected, strict=True))


SIDE = st.floats(0.05, 3)


@given(st.floats(-5, 5), st.floats(-5, 5), SIDE, SIDE, st.floats(0, 89.9), st.permutations(range(4)))
def test_a_rectangle_is_found_again(cx, cy, width, height, angle, order):
    corners = rectangle_corners(cx, cy, width, height, angle)
    found = smallest_rectangle([corners[index] for index in order])
    assert math.isclose(found[2] * found[3], width * height, rel_tol=1e-6)
    again = rectangle_corners(*found)
    for corner in corners:
        assert min(math.dist(corner, other) for other in again) < 1e-6
    assert 0 <= found[4] < 90


POINT = st.tuples(st.integers(-20, 20), st.integers(-20, 20))


@given(st.lists(POINT, min_size=3, max_size=6))
def test_the_smallest_rectangle_holds_all_points_and_none_of_many_others_is_smaller(points):
    cx, cy, width, height, angle = smallest_rectangle(points)
    for degrees in (*range(0, 90, 3), angle):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        along = [x * c + y * s for x, y in points]
        across = [y * c - x * s for x, y in points]
        area = (max(along) - min(along)) * (max(across) - min(across))
        assert width * height <= area * (1 + 1e-9) + 1e-9
        if degrees == angle:
            assert math.isclose(max(along) - min(along), width, abs_tol=1e-9)
            assert math.isclose((max(along) + min(along)) / 2, cx * c + cy * s, abs_tol=1e-9)
            assert math.isclose((max(across) + min(across)) / 2, cy * c - cx * s, abs_tol=1e-9)
