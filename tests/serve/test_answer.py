"""What a model said, as pixels and places on the map."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from skyeye.data.images.georeference import Georeference, read_georeference
from skyeye.data.prompts import MiniGPTv2
from skyeye.errors import SkyEyeError
from skyeye.serve.answer import LocatedBox, make_answer

STYLE = MiniGPTv2()
#: Half a metre a pixel, north upwards, the upper left corner at (500000, 5000000) of UTM zone 32 north.
UTM = Georeference((0.5, 0.0, 500_000.0, 0.0, -0.5, 5_000_000.0), "EPSG:32632")


def test_boxes_are_in_pixels_each_once_with_what_they_belong_to():
    text = "<p>a ship</p> {<10><20><40><70>}<delim>{<10><20><40><70>} <p>a dock</p> {<60><50><50><80>}"
    answer = make_answer(text, STYLE, (200, 100))
    assert answer.boxes == (
        LocatedBox("a ship", (20, 20, 80, 70), marks=("written 2 times",)),
        LocatedBox("a dock", (100, 50, 120, 80), marks=("corners swapped",)),
    )
    assert answer.boxes[0].corners == ((20, 20), (80, 20), (80, 70), (20, 70))


def test_what_was_asked_for_is_the_label_of_boxes_without_one():
    for question in ("[refer] the white plane", "[refer] where is the white plane ?"):
        answer = make_answer("{<10><20><40><70>}", STYLE, (100, 100), question=question)
        assert [box.label for box in answer.boxes] == ["the white plane"]
    answer = make_answer("<p>it</p> {<10><20><40><70>}", STYLE, (100, 100), question="[refer] the plane")
    assert [box.label for box in answer.boxes] == ["it"]
    assert make_answer("{<1><2><4><7>}", STYLE, (9, 9), question="[vqa] what?").boxes[0].label == ""


def test_a_box_outside_the_image_is_told():
    answer = make_answer("{<150><20><170><70>} {<10><20><40><70>}", STYLE, (100, 100))
    assert [box.box for box in answer.boxes] == [(10, 20, 40, 70)]
    assert answer.notes == ("1 box lies outside the image and cannot be shown",)


def test_turned_boxes_have_their_corners():
    (box,) = make_answer("{<25><25><75><75>|<45>}", STYLE, (100, 100)).boxes
    half = 50 / 2**0.5
    expected = [(50, 50 - half), (50 + half, 50), (50, 50 + half), (50 - half, 50)]
    assert sorted(box.polygon) == [pytest.approx(point, abs=0.01) for point in sorted(expected)]
    assert box.box == pytest.approx((50 - half, 50 - half, 50 + half, 50 + half), abs=0.01)


def test_geojson_is_in_degrees_and_in_the_coordinates_of_the_file():
    pytest.importorskip("rasterio")
    answer = make_answer("<p>a ship</p> {<0><0><50><100>}", STYLE, (200, 100), place=UTM)
    written = json.loads(json.dumps(answer.to_geojson("EPSG:32632")))
    assert written["crs"]["properties"]["name"] == "EPSG:32632"
    (feature,) = written["features"]
    ring = feature["geometry"]["coordinates"][0]
    # 100 x 100 pixels of half a metre, counter-clockwise
    corners = {(500_000, 5_000_000), (500_050, 5_000_000), (500_050, 4_999_950), (500_000, 4_999_950)}
    assert {tuple(point) for point in ring} == corners and ring[0] == ring[-1]
    assert sum((x2 - x1) * (y2 + y1) for (x1, y1), (x2, y2) in itertools.pairwise(ring)) < 0
    assert feature["properties"]["label"] == "a ship"
    (feature,) = answer.to_geojson()["features"]
    longitudes, latitudes = zip(*feature["geometry"]["coordinates"][0], strict=True)
    assert min(longitudes) == pytest.approx(9, abs=1e-9), "500000 is the middle of the zone, 9 degrees east"
    assert 45.15 < min(latitudes) < max(latitudes) < 45.16
    assert "crs" not in answer.to_geojson()


def test_without_coordinates_there_is_no_geojson():
    answer = make_answer("{<0><0><50><100>}", STYLE, (200, 100))
    with pytest.raises(SkyEyeError, match=r"the picture has no coordinates.*ask about the GeoTIFF itself.*\.boxes"):
        answer.to_geojson()
    with pytest.raises(SkyEyeError, match="belongs to no picture"):
        answer.draw()
    assert answer.draw(Image.new("RGB", (200, 100))).size == (1000, 500)


def test_georeference_of_files(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "width": 8, "height": 4, "count": 1, "dtype": "uint8"}
    transform = rasterio.Affine(*UTM.transform)
    with rasterio.open(tmp_path / "a.tif", "w", **profile, crs="EPSG:32632", transform=transform) as file:
        file.write(np.zeros((1, 4, 8), np.uint8))
    assert read_georeference(tmp_path / "a.tif") == UTM
    assert read_georeference(f"{tmp_path / 'a.tif'}#bands=1") == UTM
    assert UTM.to_map([(2, 4)]) == [(500_001, 4_999_998)]
    Image.new("RGB", (8, 4)).save(tmp_path / "b.tif")
    Image.new("RGB", (8, 4)).save(tmp_path / "c.png")
    assert read_georeference(tmp_path / "b.tif") is None and read_georeference(tmp_path / "c.png") is None
