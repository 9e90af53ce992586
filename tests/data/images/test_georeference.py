"""Pixels on the ground and back: by arithmetic, and by PROJ."""

import numpy as np
import pyproj
import pytest

from skyeye.data.images.georeference import Georeference, authority_code, corners_of, crs_text, name_of, transformed
from skyeye.errors import SkyEyeError

ROTATED = Georeference((0.4, 0.3, 500_000.0, 0.3, -0.4, 5_300_000.0), "EPSG:32633")


def test_there_and_back():
    assert ROTATED.to_map([(10, 20)]) == [(500_010.0, 5_299_995.0)]
    points = np.random.default_rng(0).uniform(-50, 900, (50, 2))
    assert np.allclose(ROTATED.to_pixels(ROTATED.project(points, ROTATED.crs)), points)


def test_longitude_comes_first():
    ((longitude, latitude),) = ROTATED.to_crs([(0, 0)])
    expected = pyproj.Proj("EPSG:32633")(500_000, 5_300_000, inverse=True)
    assert (longitude, latitude) == pytest.approx(expected) and 47 < latitude < 48


def test_lengths_and_areas_are_of_the_ground():
    assert ROTATED.metres((1000, 1000)) == pytest.approx(0.5, rel=1e-3)  # the scale of UTM
    # web mercator at 60 degrees north stretches lengths by two
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(10, 60)
    mercator = Georeference((2.0, 0, x, 0, -2.0, y), "EPSG:3857")
    assert mercator.metres((100, 100)) == pytest.approx(1.0, rel=1e-2)
    degrees = Georeference((1e-5, 0, 10.0, 0, -1e-5, 0.0), "EPSG:4326")
    assert degrees.metres((10, 10)) == pytest.approx((1.11319 + 1.10574) / 2, rel=1e-4)  # a degree at the equator


def test_a_part_lies_where_it_lies():
    assert np.allclose(ROTATED.shifted(10, 20).to_map([(1, 2)]), ROTATED.to_map([(11, 22)]))


def test_names_of_systems():
    assert authority_code("EPSG:4326") == "EPSG:4326" and name_of("+proj=laea +lat_0=1 +units=m") == "unknown"
    with pytest.raises(SkyEyeError, match="no coordinate system that PROJ knows"):
        crs_text("EPSG:0")


def test_places_that_a_system_does_not_have_are_infinite():
    assert not np.isfinite(transformed(np.array([[1e12, 1e12]]), "EPSG:32633", "EPSG:4326")).any()
    assert transformed(np.zeros((0, 2)), "EPSG:32633", "EPSG:4326").shape == (0, 2)


def test_corners_go_clockwise_from_the_upper_left():
    assert corners_of([(1, 2, 3, 4)]).tolist() == [[[1, 2], [3, 2], [3, 4], [1, 4]]]
    assert corners_of([]).shape == (0, 4, 2)
