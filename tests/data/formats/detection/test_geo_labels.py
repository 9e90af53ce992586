"""Digitised polygons over scenes become windows with boxes, whatever their coordinates."""

import json

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely

from skyeye.config.schema import SourceConfig
from skyeye.curate.tile import Settings, tile
from skyeye.data.formats import read_with_problems
from skyeye.data.images.load import load_image
from skyeye.errors import SkyEyeError

UTM = (0.5, 0.0, 500_000.0, 0.0, -0.5, 5_300_000.0)
#: In pixels of a scene of 200 x 150: the first alone, two of a kind, one across the border of the scene.
BOXES = {"plane": [(10, 10, 40, 30)], "ship": [(120, 20, 150, 60), (60, 90, 100, 120)], "tank": [(180, 130, 240, 145)]}


def on_map(box, transform=UTM):
    a, b, c, d, e, f = transform
    left, top, right, bottom = box
    return [
        (a * x + b * y + c, d * x + e * y + f) for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))
    ]


@pytest.fixture
def write(tmp_path):
    """Writes a scene and a layer; returns the path of the layer."""

    def make(
        name="labels.geojson", crs="EPSG:4326", shapes=None, columns=None, transform=UTM, scene_crs="EPSG:32633", **more
    ):
        bands = np.random.default_rng(0).integers(0, 255, (3, 150, 200), dtype=np.uint8)
        place = {"transform": rasterio.Affine(*transform), "crs": scene_crs} if transform else {}
        kind = {"driver": "GTiff", "count": 3, "height": 150, "width": 200, "dtype": "uint8"}
        with rasterio.open(tmp_path / "scene.tif", "w", **kind, **place) as file:
            file.write(bands)
        if shapes is None:
            shapes = [shapely.Polygon(on_map(box)) for boxes in BOXES.values() for box in boxes]
            columns = columns or {"class": [name for name, boxes in BOXES.items() for _ in boxes]}
        to_crs = pyproj.Transformer.from_crs("EPSG:32633", crs, always_xy=True)
        moved = [
            None if shape is None else shapely.transform(shape, to_crs.transform, interleaved=False) for shape in shapes
        ]
        pyogrio.raw.write(
            tmp_path / name,
            geometry=np.array([None if shape is None else shapely.to_wkb(shape) for shape in moved], dtype=object),
            field_data=[np.array(values, dtype=object) for values in columns.values()],
            fields=list(columns),
            geometry_type="Unknown" if name.endswith(("gpkg", "json")) else "Polygon",
            crs=crs,
            **more,
        )
        return tmp_path / name

    return make


def read(path, **options):
    options = {"window": 200, "overlap": 0, "min_side": 0.01} | options
    return read_with_problems(SourceConfig("geo_labels", str(path), options=options), "labels")


def boxes(records, task="identify"):
    """Boxes in pixels of the window, by the words for them."""
    return {
        record.turns[0].answer.split(" ", 1)[1] + record.id[-1]: [
            round(v * s) for v, s in zip(box, (200, 150) * 2, strict=True)
        ]
        for record in records
        if record.task == task
        for box in record.references["boxes"]
    }


@pytest.mark.parametrize(
    ("name", "crs"),
    [("l.geojson", "EPSG:4326"), ("l.gpkg", "EPSG:32633"), ("l.shp", "EPSG:3857"), ("l.fgb", "EPSG:4326")],
)
def test_layers_of_every_kind_and_system(write, name, crs):
    records, problems = read(write(name, crs))
    found = sorted((words[:-1], box) for words, box in boxes(records).items())  # FlatGeobuf has an order of its own
    assert found == [("plane", [10, 10, 40, 30]), ("ship", [60, 90, 100, 120]), ("ship", [120, 20, 150, 60])]
    assert [problem.kind for problem in problems] == ["difficult"]  # a third of the tank is in the scene
    (detection,) = [record for record in records if record.id.endswith("detection:ship")]
    assert len(detection.references["boxes"]) == 2 and "#window=0,0,200,150" in detection.images[0]
    assert load_image(detection.images[0]).size == (200, 150)


def test_windows_carry_what_they_show_and_every_object_counts_once(write):
    records, problems = read(write(), window=100, overlap=20)
    asked = sorted((r.images[0].split("window=")[1], r.turns[0].answer) for r in records if r.task == "identify")
    assert asked == [
        ("0,0,100,100", "a plane"),
        ("0,50,100,150", "a ship"),
        ("100,0,200,100", "a ship"),
        ("80,0,180,100", "a ship"),
        ("80,50,180,150", "a ship"),  # just half of it
    ]
    assert len(problems) == 1  # no window shows half of the tank
    (ship,) = [record for record in records if record.task == "identify" and "=80,0" in record.images[0]]
    assert ship.references["boxes"] == [[pytest.approx(v) for v in (0.4, 0.2, 0.7, 0.6)]]


def test_turned_scenes_and_oriented_boxes(write):
    transform = (0.4, 0.3, 500_000.0, 0.3, -0.4, 5_300_000.0)
    shape = shapely.Polygon(on_map((50, 40, 90, 60), transform))
    path = write(shapes=[shape], columns={"label": ["ship"]}, transform=transform)
    assert boxes(read(path)[0]) == {"ship0": [50, 40, 90, 60]}
    # a rectangle that lies askew in the picture
    askew = shapely.Polygon([on_map((x, y, 0, 0))[0] for x, y in ((50, 40), (80, 70), (70, 80), (40, 50))])
    records, _ = read(write(shapes=[askew], columns={"label": ["ship"]}), oriented=True)
    (polygon,) = next(record for record in records if record.task == "identify").references["polygons"]
    corners = {(round(x * 200), round(y * 150)) for x, y in zip(polygon[::2], polygon[1::2], strict=True)}
    assert corners == {(50, 40), (80, 70), (70, 80), (40, 50)}


def test_tiles_are_cut_with_the_labels(write, tmp_path):
    counts = tile(SourceConfig("geo_labels", str(write())), tmp_path / "tiles", Settings(size=100, overlap=20))
    assert (counts["objects"], counts["tiles"]) == (4, 6)
    assert counts["kept"] == 5 and counts["lost"] == 1


def test_captions_and_presence_know_what_is_not_there(write):
    records, _ = read(write(), window=100, overlap=0, captions=True, presence=True)
    captions = {r.images[0].split("=")[1]: r.turns[0].answer for r in records if r.task == "caption"}
    assert captions["0,0,100,100"] == "an aerial image with a plane."
    assert captions["100,0,200,100"] == "an aerial image with a ship."
    asked = [record for record in records if record.task == "vqa"]
    # of three windows and classes only a part is there
    assert len(asked) == 4 * 3 - 3 and {r.turns[0].question for r in asked} >= {
        "is there a plane ?",
        "is there a ship ?",
    }
    assert sum(record.turns[0].answer == "yes" for record in asked) == 3


def test_what_is_no_polygon_and_what_lies_elsewhere_is_reported(write):
    near = on_map((10, 10, 30, 30))
    shapes = [
        shapely.Polygon(near),
        shapely.Point(near[0]),
        shapely.LineString(near),
        None,
        shapely.Polygon([(x, y - 9_000_000) for x, y in near]),  # the other hemisphere
        shapely.MultiPolygon([shapely.Polygon(on_map((60, 60, 90, 90))), shapely.Polygon(on_map((110, 60, 140, 90)))]),
        shapely.Polygon(on_map((150, 100, 170, 120))),
    ]
    columns = {"class": ["plane", "plane", "plane", "plane", "plane", "ship", None]}
    records, problems = read(write("l.gpkg", shapes=shapes, columns=columns))
    assert len(boxes(records)) == 3
    told = {problem.kind: problem.what for problem in problems}
    assert told["not a polygon"].endswith(("Point", "LineString", "empty")) and len(problems) == 5
    assert "none of the scenes" in told["outside every scene"] and "empty" in told["no class"]


def test_labels_that_miss_every_scene(write):
    path = write(shapes=[shapely.Polygon([(1, -1), (2, -1), (2, -2)])], columns={"class": ["x"]}, crs="EPSG:32633")
    with pytest.raises(SkyEyeError, match="no usable record.*none of the scenes"):
        read(path)


def test_mistakes_are_said_with_what_to_do(write, tmp_path):
    path = write(columns={"kind_of": ["a", "b", "c", "d"]})
    with pytest.raises(SkyEyeError, match="no column that is called like a class.*kind_of"):
        read(path)
    with pytest.raises(SkyEyeError, match="did you mean 'kind_of'"):
        read(path, label="kindof")
    assert len(boxes(read(path, label="KIND_OF")[0])) == 3
    assert {"tree0", "tree1", "tree2"} == set(boxes(read(path, class_name="tree")[0]))
    with pytest.raises(SkyEyeError, match="window"):
        read(path, window=100, overlap=100)
    shape = write("l.shp", "EPSG:32633")
    shape.with_suffix(".prj").unlink()
    with pytest.raises(SkyEyeError, match="no coordinate system"):
        read(shape)
    assert len(boxes(read(shape, crs="EPSG:32633")[0])) == 3
    (tmp_path / "l.gpkg").write_bytes(b"SQLite format 3\0 no more")
    with pytest.raises(SkyEyeError, match="no layer that GDAL can read"):
        read(tmp_path / "l.gpkg")


def test_a_scene_without_coordinates_is_told(write):
    path = write(transform=None)
    with pytest.raises(SkyEyeError, match="no geotransform|no usable record"):
        read(path)


def test_several_layers_need_a_name(write):
    path = write("l.gpkg", layer="ships")
    write("l.gpkg", layer="others", append=True)
    with pytest.raises(SkyEyeError, match="layers.*ships"):
        read(path)
    assert len(boxes(read(path, layer="ships")[0])) == 3


def test_deep_scenes_are_shown_by_one_stretch(write, tmp_path):
    path = write()
    bands = np.tile(np.arange(200, dtype=np.uint16) * 10, (3, 150, 1))
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", count=3, height=150, width=200, dtype="uint16",
        transform=rasterio.Affine(*UTM), crs="EPSG:32633",
    ) as file:  # fmt: skip
        file.write(bands)
    records, _ = read(path, window=100, overlap=0, stretch="0,100")
    shown = {record.images[0].split("window=")[1]: np.asarray(load_image(record.images[0])) for record in records}
    # 0 to 1990 becomes 0 to 255: the right half begins where the left one ends
    assert shown["0,0,100,100"].max() == 127 and shown["100,0,200,100"].min() == 128
    assert json.loads(json.dumps(records[0].images[0])) == records[0].images[0]
