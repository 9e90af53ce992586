"""Scenes as people have them: clear words, and nothing lost that can be read."""

import json

import numpy as np
import pytest
from PIL import Image

from skyeye.errors import SkyEyeError
from skyeye.serve.scenes.annotate import Asking, Job, annotate_scene
from skyeye.serve.scenes.many import scenes_of
from skyeye.serve.scenes.plan import Cutting, Length
from skyeye.serve.scenes.questions import parse_question
from skyeye.serve.scenes.scene import BadScene
from skyeye.serve.scenes.summary import format_text
from skyeye.serve.scenes.write import Layer

PLACE = ((0.5, 0.0, 500_000.0, 0.0, -0.5, 5_300_000.0), "EPSG:32633")
RED = {"red": [(10, 10, 30, 40), (160, 120, 190, 150)]}


@pytest.fixture
def run(tmp_path, oracle):
    """Annotates a scene; returns what was found and the layer."""

    def annotate(path, cutting=None, name="o.geojson", crs="EPSG:4326"):
        job = Job(str(path), (Layer(tmp_path / name, crs),), tmp_path / "j")
        found = annotate_scene(job, Asking((parse_question("[detection] red things"),), cutting or Cutting()), oracle)
        return found, json.loads((tmp_path / name).read_text())

    return annotate


def test_a_transform_without_a_crs_is_said_and_can_be_given_one(tmp_path, draw, write_tiff, run):
    path = write_tiff(tmp_path / "s.tif", draw(200, 200, RED), PLACE[0])
    found, layer = run(path)
    assert "--scene-crs" in layer["coordinates"] and "--scene-crs" in format_text(found)
    _, layer = run(path, Cutting(crs="EPSG:32633"))
    assert layer["features"][0]["geometry"]["coordinates"][0][0] == pytest.approx([15.00007, 47.8533], abs=1e-3)
    with pytest.raises(SkyEyeError, match="no coordinate system"):
        run(path, Cutting(crs="EPSG:999999"))


def test_metres_without_coordinates_are_refused(tmp_path, draw, write_tiff, run):
    path = write_tiff(tmp_path / "s.tif", draw(200, 200, RED))
    with pytest.raises(SkyEyeError, match="metres mean nothing.*no geotransform.*give pixels"):
        run(path, Cutting(tile=Length(50, True)))


def test_half_a_file_gives_what_can_be_read_and_is_tried_again(tmp_path, draw, write_tiff, run, oracle):
    path = write_tiff(tmp_path / "s.tif", draw(200, 400, RED), *PLACE, tiled=False)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found, layer = run(path)
    assert found.unreadable and found.asked and len(layer["features"]) == 2
    assert "could not be read" in format_text(found) and (tmp_path / "j").exists()
    asked = len(oracle.asked)
    again, _ = run(path)
    assert len(again.unreadable) == len(found.unreadable) and again.asked == found.asked
    assert len(oracle.asked) - asked <= 16  # the chunk with the unreadable ones


def test_a_file_of_which_nothing_can_be_read(tmp_path, draw, write_tiff, run):
    path = write_tiff(tmp_path / "s.tif", draw(200, 200, RED), *PLACE)
    content = path.read_bytes()
    path.write_bytes(content[:300])
    with pytest.raises(BadScene, match=r"s\.tif"):
        run(path)
    path.write_bytes(b"")
    with pytest.raises(BadScene, match="empty"):
        run(path)
    with pytest.raises(BadScene, match="missing"):
        run(tmp_path / "none.tif")


def test_a_scene_of_three_pixels(tmp_path, write_tiff, run):
    bands = np.full((3, 1, 3), 45, np.uint8)
    bands[0, 0, 1] = 220
    found, layer = run(write_tiff(tmp_path / "s.tif", bands, *PLACE))
    assert found.asked == 1 and layer["type"] == "FeatureCollection"


def test_floats_with_nan(tmp_path, draw, write_tiff, run):
    bands = draw(300, 200, RED).astype(np.float32) / 255
    bands[:, :, 200:] = np.nan
    bands[:, 60:70, :30] = np.nan
    found, layer = run(write_tiff(tmp_path / "s.tif", bands, *PLACE), Cutting(stretch="abs:0..1", overlap=Length(0)))
    assert (found.asked, found.empty, len(layer["features"])) == (4, 2, 2)


def test_a_picture_that_is_no_raster(tmp_path, draw, run):
    Image.fromarray(np.moveaxis(draw(200, 200, RED), 0, 2)).save(tmp_path / "s.png")
    _, layer = run(tmp_path / "s.png")
    assert "no coordinates" in layer["coordinates"] and len(layer["features"]) == 2


def test_a_scene_outside_of_what_the_system_covers(tmp_path, draw, write_tiff, run):
    path = write_tiff(tmp_path / "s.tif", draw(200, 200, RED), (0.5, 0, 1e12, 0, -0.5, 1e12), "EPSG:32633")
    with pytest.raises(SkyEyeError, match="--crs source"):
        run(path)


def test_a_system_without_a_code_needs_a_geopackage(tmp_path, draw, write_tiff, run):
    crs = "+proj=laea +lat_0=10 +lon_0=20 +x_0=1234 +ellps=bessel +units=m"
    path = write_tiff(tmp_path / "s.tif", draw(200, 200, RED), (0.5, 0, 0, 0, -0.5, 0), crs)
    assert len(run(path)[1]["features"]) == 2
    with pytest.raises(SkyEyeError, match=r"write a \.gpkg"):
        run(path, crs="source")


def test_what_names_scenes(tmp_path, draw, write_tiff):
    (tmp_path / "f").mkdir()
    with pytest.raises(SkyEyeError, match="holds no scene"):
        scenes_of(str(tmp_path / "f"))
    write_tiff(tmp_path / "f/a.tif", draw(20, 20, {}))
    (tmp_path / "list.txt").write_text("# mine\nf/a.tif\n\nhttps://example.org/b.tif\n")
    assert scenes_of(str(tmp_path / "list.txt")) == [str(tmp_path / "f/a.tif"), "https://example.org/b.tif"]
    assert scenes_of(str(tmp_path / "f")) == [str(tmp_path / "f/a.tif")]


@pytest.mark.parametrize(
    ("cutting", "what"),
    [
        ({"overlap": Length(100)}, "not smaller"),
        ({"tile": Length(0)}, "smaller than a pixel"),
        ({"bands": "1,9,2"}, "no band 9"),
    ],
)
def test_settings_that_make_no_windows(tmp_path, draw, write_tiff, run, cutting, what):
    path = write_tiff(tmp_path / "s.tif", draw(200, 200, RED), *PLACE)
    with pytest.raises(SkyEyeError, match=what):
        run(path, Cutting(**cutting))
