"""What is written is read again, by the readers of other programs."""

import csv
import json

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from PIL import Image

from skyeye.errors import SkyEyeError
from skyeye.serve.scenes.annotate import Asking, Job, annotate_scene
from skyeye.serve.scenes.plan import Cutting
from skyeye.serve.scenes.questions import parse_question
from skyeye.serve.scenes.write import KINDS, Layer

RED = [(10, 10, 30, 40), (60, 20, 130, 45), (70, 140, 110, 190)]
PLACE = ((0.5, 0.0, 500_000.0, 0.0, -0.5, 5_300_000.0), "EPSG:32633")
ASKED = (parse_question("[detection] red things"), parse_question("[classification] forest, desert"))


@pytest.fixture
def write(tmp_path, draw, write_tiff, oracle):
    """Annotates a scene of 250 x 200 into files of the given names; returns the folder."""

    def annotate(*names, place=PLACE, crs="EPSG:4326", things=RED):
        path = write_tiff(tmp_path / "scene.tif", draw(250, 200, {"red": things}), *place)
        job = Job(str(path), tuple(Layer(tmp_path / name, crs) for name in names), tmp_path / "journal")
        annotate_scene(job, Asking(ASKED, Cutting()), oracle)
        return tmp_path

    return annotate


def test_geojson_is_what_rfc_7946_says_and_gdal_reads_it(write):
    folder = write("o.geojson")
    content = json.loads((folder / "o.geojson").read_text())
    assert "crs" not in content
    layer = geopandas.read_file(folder / "o.geojson")
    assert layer.crs.to_epsg() == 4326 and set(layer["kind"]) == {"object", "tile"}
    objects = layer[layer["kind"] == "object"].to_crs(32633)
    assert sorted(objects["label"]) == ["red things"] * 3
    # by hand: 20 x 30, 70 x 25 and 40 x 50 pixels of a quarter of a square metre, a pixel of rounding a side
    assert sorted(objects["area_m2"]) == pytest.approx([150, 437.5, 500], rel=0.12)
    assert np.allclose(sorted(objects.area), sorted(objects["area_m2"]), rtol=2e-3)
    assert objects.total_bounds == pytest.approx([500_005, 5_299_905, 500_065, 5_299_995], abs=1)


def test_the_scenes_own_system_is_named_and_read(write):
    folder = write("o.geojson", "o.gpkg", crs="source")
    for name in ("o.geojson", "o.gpkg"):
        layer = geopandas.read_file(folder / name, **({"layer": "objects"} if name.endswith("gpkg") else {}))
        assert layer.crs.to_epsg() == 32633
        assert layer.total_bounds[0] > 499_000


def test_geopackage_holds_layers_with_types(write):
    folder = write("o.gpkg")
    assert {name for name, _ in pyogrio.list_layers(folder / "o.gpkg")} == {"objects", "tiles"}
    info = pyogrio.read_info(folder / "o.gpkg", layer="objects")
    types = dict(zip(info["fields"], info["dtypes"], strict=True))
    assert (types["score"], types["label"], types["cut"]) == ("float64", "object", "bool")
    objects = geopandas.read_file(folder / "o.gpkg", layer="objects")
    assert len(objects) == 3 and set(objects.geom_type) == {"MultiPolygon"} and objects.is_valid.all()
    assert geopandas.read_file(folder / "o.gpkg", layer="tiles")["number"].isna().all()


def test_the_same_findings_give_the_same_bytes(write):
    names = ["o.geojson", "o.gpkg", "o.csv", "o.coco.json", "o.png", "o.html", "o.json"]
    first = {name: (write(*names) / name).read_bytes() for name in names}
    folder = write(*names)
    assert {name: (folder / name).read_bytes() for name in names} == first


def test_csv_and_coco(write):
    folder = write("o.csv", "o.coco.json")
    rows = list(csv.DictReader((folder / "o.csv").open(encoding="utf-8")))
    things = [row for row in rows if row["kind"] == "object"]
    assert len(things) == 3 and all(shapely.from_wkt(row["wkt"]).area for row in rows)
    assert float(things[0]["x"]) == pytest.approx(15.0, abs=0.01) and float(things[0]["y"]) == pytest.approx(
        47.8, abs=0.1
    )
    content = json.loads((folder / "o.coco.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "scene.tif", "width": 250, "height": 200}]
    boxes = [annotation["bbox"] for annotation in content["annotations"]]
    assert boxes == [[10, 10, 20, 30], [60, 20, 70, 25], [70, 140, 40, 50]]
    assert content["categories"] == [{"id": 1, "name": "red things"}]


def test_the_picture_shows_the_scene_with_its_objects(write):
    with Image.open(write("o.png") / "o.png") as picture:
        assert picture.size == (250, 200)
        assert picture.getpixel((90, 165))[0] > 200 and picture.getpixel((150, 100))[0] < 70


def test_the_page_needs_nothing_else_and_shows_words_as_words(write, tmp_path):
    text = (write("o.html") / "o.html").read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
    assert "data:image/jpeg;base64," in text and "3 x red things" in text


def test_without_coordinates_it_is_pixels_and_said(write):
    folder = write("o.geojson", "o.gpkg", "o.csv", "o.html", "o.json", place=(None, None))
    content = json.loads((folder / "o.geojson").read_text())
    assert content["coordinates"].startswith("columns and rows") and "no geotransform" in content["coordinates"]
    (first, *_) = content["features"]
    assert first["geometry"]["coordinates"][0][0] == [10.0, 10.0] and first["properties"]["area_m2"] is None
    assert json.loads((folder / "o.json").read_text())["area_km2"] is None
    assert geopandas.read_file(folder / "o.gpkg", layer="objects").total_bounds[0] == 10


def test_nothing_found_is_an_empty_layer_that_opens(write):
    folder = write("o.geojson", "o.gpkg", "o.csv", "o.coco.json", "o.png", "o.html", "o.json", things=[])
    assert len(geopandas.read_file(folder / "o.gpkg", layer="objects")) == 0
    assert json.loads((folder / "o.coco.json").read_text())["annotations"] == []


def test_an_ending_that_says_nothing_is_refused(tmp_path):
    with pytest.raises(SkyEyeError, match="known: .geojson"):
        _ = Layer(tmp_path / "o.shp").kind
    assert Layer(tmp_path / "a.coco.json").kind == "coco" and set(KINDS.values()) >= {"picture", "page"}
