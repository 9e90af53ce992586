"""``skyeye annotate``: from the command line to files, and what is refused before a model is opened."""

import json

import numpy as np
import pytest
import rasterio

from skyeye.cli import main
from skyeye.data.geometry.boxes import Box
from skyeye.serve.scenes.answers import Said


class Stub:
    """Sees one box in the middle of every window, and says yes."""

    name, side = "stub", 64

    def prepare(self, picture):
        return picture.size

    def answer(self, prepared, turns):
        said = Said("yes", 0.75, (("ship", Box(0.25, 0.25, 0.75, 0.5)),))
        return [[said for _ in turns] for _ in prepared]


@pytest.fixture
def scene(tmp_path):
    pixels = np.random.default_rng(0).integers(1, 255, (3, 64, 64), dtype=np.uint8)
    kind = {"driver": "GTiff", "count": 3, "height": 64, "width": 64, "dtype": "uint8", "crs": "EPSG:32633"}
    place = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)
    with rasterio.open(tmp_path / "scene.tif", "w", transform=place, **kind) as file:
        file.write(pixels)
    return tmp_path / "scene.tif"


@pytest.fixture
def annotate(monkeypatch):
    """Runs the command with :class:`Stub` for a model; gives the exit code."""
    monkeypatch.setattr("skyeye.serve.scenes.ask.open_answerer", lambda *_: Stub())

    def run(*arguments):
        return main(["annotate", *map(str, arguments), "--model", "nothing"])

    return run


def test_one_scene_and_several_files(annotate, scene, tmp_path, capsys):
    question = ("--ask", "[detection] ships", "--if", "[vqa] is there a ship ?", "--ask", "[caption]")
    assert annotate(scene, *question, "--out", tmp_path / "o.geojson", "--out", tmp_path / "o.html") == 0
    told = capsys.readouterr().out
    assert "1 x ships, 128 m2" in told and "1 windows asked" in told and f"written: {tmp_path / 'o.html'}" in told
    features = json.loads((tmp_path / "o.geojson").read_text())["features"]
    assert [feature["properties"]["kind"] for feature in features] == ["object", "tile"]
    assert not list(tmp_path.glob(".*"))


def test_a_folder_of_scenes(annotate, scene, tmp_path, capsys):
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    out = tmp_path / "out"
    assert annotate(tmp_path, "--ask", "[detection] ships", "--out", out, "--formats", ".geojson", ".csv") == 1
    captured = capsys.readouterr()
    assert "broken.tif" in captured.err and "1 of 2 scenes annotated" in captured.out
    assert (out / "scene.geojson").exists() and (out / "scene.csv").exists() and (out / "summary.json").exists()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--ask", "[ships]", "--out", "o.geojson"), "is no task"),
        (("--ask", "ships", "--out", "o.shp"), "its ending says nothing"),
        (("--ask", "ships", "--out", "o.geojson", "--tile", "big"), "is no length"),
        (("--ask", "ships", "--out", "o.geojson", "--iou", "2"), "between 0 and 1"),
        (("--ask", "ships", "--out", "o.geojson", "--crs", "EPSG:1"), "no coordinate system"),
        (("--ask", "ships", "--out", "o.geojson", "--bands", "x"), "bands"),
        (("--ask", "ships", "--out", "o.geojson", "--scales", "0"), "scales"),
        (("--ask", "ships", "--out", "o.geojson", "--out", "folder"), "cannot be mixed"),
    ],
)
def test_mistakes_are_said_before_a_model_is_opened(scene, tmp_path, monkeypatch, capsys, arguments, what):
    monkeypatch.chdir(tmp_path)
    assert main(["annotate", str(scene), "--model", "nothing", *arguments]) == 2
    assert what in capsys.readouterr().err


def test_a_scene_that_is_not_there_is_said_first(tmp_path, capsys):
    out = str(tmp_path / "o.geojson")
    assert main(["annotate", str(tmp_path / "no.tif"), "--model", "nothing", "--ask", "ships", "--out", out]) == 2
    assert "no.tif: the image is missing" in capsys.readouterr().err


def test_a_condition_follows_its_question(scene, capsys):
    with pytest.raises(SystemExit):
        main(["annotate", str(scene), "--model", "m", "--if", "[vqa] x ?", "--ask", "ships", "--out", "o.geojson"])
    assert "--if follows" in capsys.readouterr().err
