"""Large synthetic scenes: their pictures, places and objects."""

import json

import numpy as np
import pytest
import rasterio.warp
import shapely

from skyeye.cli import main
from skyeye.errors import SkyEyeError
from skyeye.synth.mosaic import Mosaic, picture_of, write_mosaic


def test_pictures_objects_and_places(tmp_path):
    mosaic = Mosaic(pictures=2, size=56, seed=3, rotation=10)
    objects = write_mosaic(tmp_path / "a.tif", mosaic)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert (file.width, file.height, file.count, file.crs.to_epsg()) == (112, 112, 3, 32633)
        assert np.array_equal(np.moveaxis(file.read()[:, 56:, :56], 0, 2), picture_of(mosaic, 1, 0)[1])
        transform = file.transform
    scene, _ = picture_of(mosaic, 0, 0)
    assert [thing["phrase"] for thing in objects[: len(scene.things)]] == [thing.phrase for thing in scene.things]
    truth = json.loads((tmp_path / "a.truth.geojson").read_text())["features"]
    assert [feature["properties"]["label"] for feature in truth] == [thing["label"] for thing in objects]
    ring = shapely.geometry.shape(truth[0]["geometry"]).exterior
    assert ring.is_ccw
    x, y = rasterio.warp.transform("EPSG:4326", "EPSG:32633", *map(list, zip(*ring.coords, strict=True)))
    columns, rows = ~transform * (np.array(x), np.array(y))
    box = objects[0]["box"]
    assert [columns.min(), rows.min(), columns.max(), rows.max()] == pytest.approx(box, abs=1e-3)
    assert write_mosaic(tmp_path / "b.tif", mosaic) == objects
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_sixteen_bits_and_a_border(tmp_path, capsys):
    arguments = ["--pictures", "2", "--size", "56", "--bits", "16", "--border", "10"]
    assert main(["data", "mosaic", str(tmp_path / "a.tif"), *arguments]) == 0
    assert "112 x 112 pixels" in capsys.readouterr().out
    with rasterio.open(tmp_path / "a.tif") as file:
        bands = file.read()
        assert (file.dtypes, file.nodata) == (("uint16",) * 4, 0)
    inside = bands[:, 10:-10, 10:-10]
    assert inside.min() >= 300 and not bands[:, :10].any() and not bands[:, :, -10:].any() and not bands[:, -10:].any()
    colours = picture_of(Mosaic(2, 56), 0, 0)[1][10:, 10:]
    assert np.array_equal((inside[[2, 1, 0], :46, :46] - 300) // 12, np.moveaxis(colours, 2, 0))


def test_numbers_that_make_no_scene():
    with pytest.raises(SkyEyeError, match="cannot make a scene"):
        Mosaic(pictures=0)
    with pytest.raises(SkyEyeError, match="no coordinate system"):
        Mosaic(crs="EPSG:0")
