"""Scenes of every kind through windows, answers and merging to places on the ground, and back to the truth."""

import json

import numpy as np
import pyproj
import pytest
import shapely

from skyeye.serve.scenes.annotate import Asking, Job, annotate_scene
from skyeye.serve.scenes.findings import Rules
from skyeye.serve.scenes.plan import Cutting, Length
from skyeye.serve.scenes.questions import parse_question
from skyeye.serve.scenes.write import Layer

#: Whole, across seams of windows of 100 with an overlap of 25 (columns 75 to 100, 150 to 175 ...), around a corner of
#: four, larger than a window, and at the border of the scene.
RED = [(10, 10, 30, 40), (60, 20, 130, 45), (70, 140, 110, 190), (190, 60, 330, 80), (380, 280, 420, 300)]
GREEN = [(130, 200, 180, 260), (300, 150, 318, 168)]
SIZE = (420, 300)
UTM = (0.5, 0.0, 500_000.0, 0.0, -0.5, 5_300_000.0)
ROTATED = (0.4, 0.3, 500_000.0, 0.3, -0.4, 5_300_000.0)
DEGREES = (1e-5, 0.0, 15.0, 0.0, -1e-5, 47.0)


def asking(*texts, tile=None, scales=(1.0,), bands=None, stretch=None, crs=None, overlap=None, **more):
    lengths = (None if value is None else Length(value) for value in (tile, overlap))
    cutting = Cutting(*lengths, scales, bands, stretch, crs)
    return Asking(tuple(parse_question(text) for text in texts), cutting, **more)


def run(path, out, oracle, ask):
    job = Job(str(path), (Layer(out),), out.parent / "journal")
    return annotate_scene(job, ask, oracle)


def truth(boxes, transform, crs):
    """The boxes as polygons in longitude and latitude, by arithmetic of this file and pyproj."""
    a, b, c, d, e, f = transform
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    polygons = []
    for left, top, right, bottom in boxes:
        ring = [(left, top), (right, top), (right, bottom), (left, bottom)]
        polygons.append(shapely.Polygon([to_degrees.transform(a * x + b * y + c, d * x + e * y + f) for x, y in ring]))
    return polygons


def overlaps(found, true):
    """For each true polygon the best intersection over union with a found one."""
    return [max((a.intersection(b).area / a.union(b).area for a in found), default=0.0) for b in true]


def geometries(path, **properties):
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    chosen = [f for f in features if all(f["properties"][key] == value for key, value in properties.items())]
    return [shapely.geometry.shape(feature["geometry"]) for feature in chosen]


@pytest.mark.parametrize(
    ("transform", "crs"),
    [(UTM, "EPSG:32633"), (ROTATED, "EPSG:32633"), (DEGREES, "EPSG:4326"), (UTM, "EPSG:3857")],
    ids=["utm", "rotated", "degrees", "mercator"],
)
def test_every_object_is_found_once_where_it_lies(tmp_path, draw, write_tiff, oracle, transform, crs):
    path = write_tiff(tmp_path / "scene.tif", draw(*SIZE, {"red": RED, "green": GREEN}), transform, crs)
    out = tmp_path / "things.geojson"
    run(path, out, oracle, asking("[detection] red things", "[detection] green things"))
    for label, boxes in (("red things", RED), ("green things", GREEN)):
        found = geometries(out, label=label)
        assert len(found) == len(boxes)
        assert min(overlaps(found, truth(boxes, transform, crs))) > 0.8  # a hundredth of a window is a pixel
    # RFC 7946: exterior rings counterclockwise, longitude first
    assert all(shapely.is_ccw(shapely.get_exterior_ring(polygon)) for polygon in geometries(out))
    assert not (tmp_path / "journal").exists()


def test_bands_of_16_bits_a_border_without_data_and_scales(tmp_path, draw, write_tiff, oracle):
    bands = draw(*SIZE, {"red": RED[1:], "green": GREEN}).astype(np.uint16)[[2, 1, 0, 0]] * 12 + 300
    bands[:, :, :50] = 0
    bands[:, 250:, 330:] = 0
    path = write_tiff(tmp_path / "s.tif", bands, UTM, "EPSG:32633", nodata=0)
    out = tmp_path / "o.geojson"
    ask = asking("[detection] red things", bands="3,2,1", stretch="abs:300..3360", scales=(1.0, 2.0, 4.0))
    found = run(path, out, oracle, ask)
    boxes = RED[1:-1]  # the last lies in the border
    assert len(geometries(out)) == len(boxes)
    assert min(overlaps(geometries(out), truth(boxes, UTM, "EPSG:32633"))) > 0.8
    assert found.empty == 0  # every window of 100 shows something
    assert set(oracle.asked) == {(100, 100, 3), (75, 100, 3)}  # larger windows are read small


def test_windows_without_data_are_not_asked(tmp_path, draw, write_tiff, oracle):
    bands = draw(300, 300, {"red": [(210, 10, 240, 40)]})
    bands[:, :, :200] = 0
    path = write_tiff(tmp_path / "s.tif", bands, UTM, "EPSG:32633", nodata=0)
    found = run(path, tmp_path / "o.geojson", oracle, asking("[detection] red things", overlap=0))
    assert (found.asked, found.empty, len(oracle.asked)) == (3, 6, 3)
    # of one colour, without a value that says so
    path = write_tiff(tmp_path / "t.tif", bands, UTM, "EPSG:32633")
    assert run(path, tmp_path / "p.geojson", oracle, asking("[detection] red things", overlap=0)).empty == 6


def test_lengths_in_metres(tmp_path, draw, write_tiff, oracle):
    path = write_tiff(tmp_path / "s.tif", draw(200, 200, {}), UTM, "EPSG:32633")
    cutting = Cutting(Length.parse("50m", "x"), Length.parse("0 m", "x"))
    found = run(path, tmp_path / "o.geojson", oracle, Asking((parse_question("[detection] red things"),), cutting))
    assert found.asked == 4  # pixels of half a metre: windows of 100


def test_classes_and_counts_are_tiles_that_cover_the_scene_once(tmp_path, draw, write_tiff, oracle):
    path = write_tiff(tmp_path / "s.tif", draw(*SIZE, {"red": RED}), UTM, "EPSG:32633")
    out = tmp_path / "o.geojson"
    run(path, out, oracle, asking("[classification] forest, desert", "[count] red things"))
    asked = json.loads(out.read_text())["features"]
    tiles = [feature["properties"] for feature in asked if feature["properties"]["question"].startswith("[class")]
    assert {tile["answer"] for tile in tiles} <= {"forest", "desert"} and tiles[0]["score"] == 0.75
    assert sum(tile["width"] * tile["height"] for tile in tiles) == 420 * 300
    assert sum(tile["area_m2"] for tile in tiles) == pytest.approx(420 * 300 * 0.25, rel=2e-3)  # the scale of UTM
    counts = [each["properties"]["number"] for each in asked if each["properties"]["question"].startswith("[count")]
    assert counts[0] == 2  # in the first window: a whole one and a part


def test_conditions_and_least_scores_leave_boxes_out_and_say_so(tmp_path, draw, write_tiff, oracle):
    path = write_tiff(tmp_path / "s.tif", draw(*SIZE, {"red": RED[:1]}), UTM, "EPSG:32633")
    question = parse_question("[detection] red things", "[vqa] is there a green thing ?")
    found = run(path, tmp_path / "o.geojson", oracle, Asking((question,), Cutting()))
    assert (found.features, found.counts["unconfirmed"]) == ((), 1)
    found = run(path, tmp_path / "o.geojson", oracle, asking("[detection] red things", rules=Rules(min_score=0.95)))
    assert (found.features, found.counts["unsure"]) == ((), 1)


def test_across_the_180th_meridian_a_polygon_has_two_parts(tmp_path, draw, write_tiff, oracle):
    bands = draw(200, 100, {"red": [(20, 20, 100, 60)]})
    utm = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32701", always_xy=True)
    x, y = utm.transform(179.9995, -17.0)  # the meridian is 53 m further
    places = {"u": ((1, 0, x, 0, -1, y), "EPSG:32701"), "d": ((1e-5, 0, 180 - 6e-4, 0, -1e-5, -17.0), "EPSG:4326")}
    for name, (transform, crs) in places.items():
        path = write_tiff(tmp_path / f"{name}.tif", bands, transform, crs)
        out = tmp_path / f"{name}.geojson"
        run(path, out, oracle, asking("[detection] red things", tile=200))
        (shape,) = geometries(out)
        assert shape.geom_type == "MultiPolygon" and len(shape.geoms) == 2
        assert all(part.bounds[0] >= -180 and part.bounds[2] <= 180 for part in shape.geoms)
        assert all(shapely.is_ccw(part.exterior) for part in shape.geoms)
