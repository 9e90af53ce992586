"""Large pictures cut into tiles: where they lie, which boxes they carry, and that workers change nothing."""

import itertools
import json
import math
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skyeye.cli import main
from skyeye.config.schema import SourceConfig
from skyeye.curate.tile import Settings, tile
from skyeye.data.formats import read_with_problems
from skyeye.data.formats.detection.base import Labelled
from skyeye.data.formats.detection.windows import boxes_in
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.geometry.polygons import clip_polygon, polygon_area
from skyeye.data.geometry.windows import windows
from skyeye.data.images import limits
from skyeye.data.images.load import load_image
from skyeye.errors import SkyEyeError


def test_where_tiles_lie():
    assert windows(1000, 512, 512, 128) == [(0, 0, 512, 512), (384, 0, 896, 512), (488, 0, 1000, 512)]
    assert windows(300, 200, 512, 128) == [(0, 0, 300, 200)]
    assert windows(512, 1024, 512, 0) == [(0, 0, 512, 512), (0, 512, 512, 1024)]


@given(st.integers(1, 400), st.integers(1, 400), st.integers(16, 90), st.integers(0, 89))
def test_tiles_cover_every_pixel_and_leave_none_of_the_overlap(width, height, size, overlap):
    overlap = overlap % size
    places = windows(width, height, size, overlap)
    assert len(places) == len(set(places))
    covered = np.zeros((height, width), bool)
    for left, top, right, bottom in places:
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert (right - left, bottom - top) == (min(size, width), min(size, height))
        covered[top:bottom, left:right] = True
    assert covered.all()
    columns = sorted({left for left, *_ in places})
    assert all(a + size - b >= overlap for a, b in itertools.pairwise(columns))


def thing(*numbers, name="ship", **more):
    if len(numbers) == 8:
        polygon = OrientedBox.from_pixels(numbers, 100, 100)
        return Labelled(name, polygon.upright(), "x", polygon=polygon, **more)
    return Labelled(name, Box.from_pixels(*numbers, 100, 100), "x", **more)


@pytest.mark.parametrize(
    ("numbers", "keep", "expected", "enough"),
    [
        ((10, 10, 20, 20), 0.5, [10, 10, 20, 20], True),  # inside
        ((30, 10, 50, 20), 0.5, [30, 10, 40, 20], True),  # half of it, clipped
        ((31, 10, 51, 20), 0.5, [31, 10, 40, 20], False),  # less than half
        ((31, 10, 51, 20), 0.4, [31, 10, 40, 20], True),
        ((40, 10, 60, 20), 0.5, None, None),  # touches
        ((20, 10, 10, 20), 0.5, None, None),  # corners in the wrong order
        ((10, 10, 10, 20), 0.5, None, None),  # no area
    ],
)
def test_upright_boxes_are_clipped(numbers, keep, expected, enough):
    found = boxes_in((thing(*numbers),), 100, 100, (0, 0, 40, 40), keep)
    if expected is None:
        assert found == []
    else:
        difficult = {} if enough else {"difficult": True}
        assert found == [(0, {"box": expected, "label": "ship", **difficult}, enough)]


def test_boxes_count_from_the_corner_of_the_tile():
    ((_, entry, _),) = boxes_in((thing(50, 60, 70, 80),), 100, 100, (40, 50, 90, 100), 0.5)
    assert entry["box"] == [10, 10, 30, 30]


def test_oriented_boxes_stay_as_they_are_or_become_the_rectangle_around_the_part_inside():
    diamond = (20, 10, 30, 20, 20, 30, 10, 20)
    ((_, entry, enough),) = boxes_in((thing(*diamond),), 100, 100, (0, 0, 40, 40), 0.5)
    assert entry["polygon"] == list(diamond) and enough
    # cut at x = 20: the left half, a triangle (20, 10) (20, 30) (10, 20) of area 100
    ((_, entry, enough),) = boxes_in((thing(*diamond),), 100, 100, (0, 0, 20, 40), 0.5)
    numbers = entry["polygon"]
    corners = sorted(zip(numbers[::2], numbers[1::2], strict=True))
    assert enough and corners == [(10, 10), (10, 30), (20, 10), (20, 30)]
    ((_, entry, enough),) = boxes_in((thing(*diamond),), 100, 100, (0, 0, 19, 40), 0.5)
    assert entry["difficult"] and not enough


def test_difficult_objects_stay_difficult():
    ((_, entry, enough),) = boxes_in((thing(10, 10, 20, 20, difficult=True),), 100, 100, (0, 0, 40, 40), 0.5)
    assert entry["difficult"] and enough


SPOT = st.tuples(st.floats(-10, 110), st.floats(-10, 110), st.floats(2, 60), st.floats(2, 60), st.floats(0, 89))


@given(st.lists(SPOT, max_size=4), st.floats(0.05, 1.0))
def test_areas_add_up_over_tiles_that_do_not_overlap(spots, keep):
    objects = tuple(
        thing(*OrientedBox.from_centre(x / 100, y / 100, w / 100, h / 100, angle).to_pixels(100, 100))
        for x, y, w, h, angle in spots
    )
    for index, one in enumerate(objects):
        parts = [boxes_in((one,), 100, 100, window, keep) for window in windows(100, 100, 25, 0)]
        seen = [entry for part in parts for _, entry, _ in part]
        inside = 0.0
        for window in windows(100, 100, 25, 0):
            frame = [(window[0], window[1]), (window[2], window[1]), (window[2], window[3]), (window[0], window[3])]
            numbers = one.polygon.to_pixels(100, 100)
            part = clip_polygon(list(zip(numbers[::2], numbers[1::2], strict=True)), frame)
            inside += polygon_area(part) if part else 0.0
        whole = [(0, 0), (100, 0), (100, 100), (0, 100)]
        numbers = one.polygon.to_pixels(100, 100)
        expected = clip_polygon(list(zip(numbers[::2], numbers[1::2], strict=True)), whole)
        assert math.isclose(inside, polygon_area(expected) if expected else 0.0, abs_tol=1e-6)
        assert bool(seen) == (inside > 0), index


@pytest.fixture
def dota(tmp_path):
    """Two pictures of noise with labels; the ship of the first lies in the middle, over four tiles of 64."""
    rng = np.random.default_rng(0)
    for name, (width, height) in {"P1": (150, 100), "P2": (60, 40)}.items():
        (tmp_path / "dota/images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "dota/labelTxt").mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"dota/images/{name}.png")
    (tmp_path / "dota/labelTxt/P1.txt").write_text(
        "70 10 90 10 90 30 70 30 ship 0\n5 5 25 5 25 25 5 25 large-vehicle 1\n0 0 0 0 0 0 0 0 plane 0\n"
        "140 90 149 90 149 99 140 99 ship 0\n"
        "broken\n"
    )
    (tmp_path / "dota/labelTxt/P2.txt").write_text("10 10 30 10 30 30 10 30 plane 0\n")
    return tmp_path / "dota"


def lines(out):
    return [json.loads(line) for line in (out / "tiles.jsonl").read_text().splitlines()]


def files(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_a_folder_of_dota(dota, tmp_path):
    out = tmp_path / "out"
    told = tile(SourceConfig("dota", str(dota)), out, Settings(size=64, overlap=16))
    problems = told.pop("problems")
    # P1: columns 0, 48, 86 and rows 0, 36; P2 is one tile
    assert told == {
        **{"existed": False, "pictures": 2, "tiles": 7, "objects": 5, "kept": 4, "cut": 1, "lost": 1, "phrases": 0}
    }
    assert [problem.kind for problem in problems] == ["malformed line"]
    whole = np.asarray(Image.open(dota / "images/P1.png"))
    for line in lines(out)[:6]:
        left, top = (int(word) for word in line["id"].split("_")[1:])
        tile_pixels = np.asarray(Image.open(out / line["image"]))
        assert np.array_equal(tile_pixels, whole[top : top + 64, left : left + 64])
        assert (line["width"], line["height"], line["unit"]) == (64, 64, "pixels")
    by_id = {line["id"]: line["boxes"] for line in lines(out)}
    assert by_id["P1_0_0"] == [
        {"polygon": [5, 5, 25, 5, 25, 25, 5, 25], "label": "large vehicle", "difficult": True},
    ]
    assert by_id["P1_48_0"] == [{"polygon": [22, 10, 42, 10, 42, 30, 22, 30], "label": "ship"}]
    # 86 of 70..90 are cut off: 4 of 20 columns are left
    assert by_id["P1_86_0"][0] == {"polygon": [0, 10, 4, 10, 4, 30, 0, 30], "label": "ship", "difficult": True}
    assert by_id["P1_86_36"] == [{"polygon": [54, 54, 63, 54, 63, 63, 54, 63], "label": "ship"}]
    assert by_id["P2_0_0"][0]["label"] == "plane"

    records, problems = read_with_problems(SourceConfig("jsonl", str(out / "tiles.jsonl")), "tiles")
    assert {problem.kind for problem in problems} == {"difficult", "no objects"}
    first = next(r for r in records if r.task == "refer")
    assert first.images == (str(out / "images/P1_48_0.png"),)
    assert first.references["boxes"] == [[22 / 64, 10 / 64, 42 / 64, 30 / 64]] and first.references["polygons"]


def test_options_of_the_source_that_are_about_questions_or_brightness(dota, tmp_path):
    options = {"min_side": 0.5, "splits": {"test": ["P2*"]}, "bands": [3, 3, 3]}
    tile(SourceConfig("dota", str(dota), options=options), tmp_path / "out", Settings(size=64, overlap=16))
    found = lines(tmp_path / "out")
    assert [line["split"] for line in found] == ["train"] * 6 + ["test"]
    blue = np.asarray(Image.open(dota / "images/P2.png"))[..., 2]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / found[6]["image"]))[..., 0], blue)


def test_the_result_does_not_depend_on_workers_or_on_being_interrupted(dota, tmp_path, monkeypatch):
    source = SourceConfig("dota", str(dota))
    settings = Settings(size=64, overlap=16)
    tile(source, tmp_path / "one", settings)
    tile(source, tmp_path / "two", settings, workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tile(source, tmp_path / "three", settings, progress=stop)
    assert not (tmp_path / "three/tiles.jsonl").exists()
    made = (tmp_path / "three/images/P1_0_0.png").stat().st_mtime_ns
    tile(source, tmp_path / "three", settings)
    assert files(tmp_path / "three") == files(tmp_path / "one")
    assert (tmp_path / "three/images/P1_0_0.png").stat().st_mtime_ns == made  # not made again
    assert tile(source, tmp_path / "three", settings)["existed"]


def test_an_out_folder_of_something_else_is_left_alone(dota, tmp_path):
    source = SourceConfig("dota", str(dota))
    tile(source, tmp_path / "out", Settings(size=64, overlap=16))
    with pytest.raises(SkyEyeError, match="holds tiles of other pictures or other settings"):
        tile(source, tmp_path / "out", Settings(size=64, overlap=15))
    (dota / "labelTxt/P2.txt").write_text("")
    with pytest.raises(SkyEyeError, match="holds tiles of other pictures or other settings"):
        tile(source, tmp_path / "out", Settings(size=64, overlap=16))
    with pytest.raises(SkyEyeError, match="is not empty and holds no tiles"):
        tile(source, dota)


@pytest.mark.parametrize(
    "settings",
    [{"size": 15}, {"size": 64, "overlap": 64}, {"overlap": -1}, {"keep": 0.0}, {"keep": 1.5}, {"bands": "1,2"}],
)
def test_settings_that_make_no_tiles(settings):
    with pytest.raises(SkyEyeError, match="^--"):
        Settings(**settings)


def test_pictures_without_annotation_and_one_that_is_damaged(tmp_path):
    (tmp_path / "in/a").mkdir(parents=True)
    Image.new("RGB", (100, 50), (1, 2, 3)).save(tmp_path / "in/a/x.png")
    Image.new("L", (100, 50), 9).save(tmp_path / "in/y.png")
    (tmp_path / "in/z.png").write_bytes(b"no picture")
    told = tile(tmp_path / "in", tmp_path / "out", Settings(size=64, overlap=28))
    assert (told["tiles"], [problem.kind for problem in told["problems"]]) == (4, ["unreadable image"])
    assert all(line["boxes"] == [] for line in lines(tmp_path / "out"))
    assert {Image.open(tmp_path / "out" / line["image"]).mode for line in lines(tmp_path / "out")} == {"RGB"}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_beyond_the_limit_is_what_tiles_are_for(tmp_path, monkeypatch):
    Image.new("RGB", (100, 50), (1, 2, 3)).save(tmp_path / "x.png")
    monkeypatch.setattr(limits, "MAX_PIXELS", 4999)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(SkyEyeError, match="more than .* pixels.*skyeye data tile"):
        load_image(tmp_path / "x.png")
    assert tile(tmp_path / "x.png", tmp_path / "out", Settings(size=64, overlap=28))["tiles"] == 2
    assert Image.MAX_IMAGE_PIXELS == 2000
    monkeypatch.setattr("skyeye.curate.tile.MAX_TILES", 1)
    assert tile(tmp_path / "x.png", tmp_path / "out2", Settings(size=64, overlap=28))["problems"]


def test_not_enough_memory_is_told(tmp_path, monkeypatch):
    Image.new("RGB", (100, 50)).save(tmp_path / "x.png")
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    (problem,) = tile(tmp_path / "x.png", tmp_path / "out", Settings(size=64, overlap=0))["problems"]
    assert "decoding needs" in str(problem) and "tiled GeoTIFF" in str(problem)


def test_keys_that_are_no_file_names(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    item = {"image": "a.png", "unit": "pixels", "boxes": [{"box": [1, 1, 9, 9], "label": "ship"}]}
    keys = ["../../x", "a b", "A b", ".hidden", "ok", "x" * 300, "Twice", "twice"]
    (tmp_path / "my.jsonl").write_text("\n".join(json.dumps({**item, "id": key}) for key in keys))
    assert tile(SourceConfig("jsonl", str(tmp_path / "my.jsonl")), tmp_path / "out", Settings())["tiles"] == len(keys)
    names = [line["image"] for line in lines(tmp_path / "out")]
    assert len({name.lower() for name in names}) == len(keys) and names[4] == "images/ok_0_0.png"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "my.jsonl", "out"]


def test_words_for_one_object_of_a_whole_picture_are_skipped_of_tiles(tmp_path):
    Image.new("RGB", (100, 50)).save(tmp_path / "a.png")
    boxes = [{"box": [1, 1, 9, 9], "phrase": "the leftmost ship"}]
    (tmp_path / "my.jsonl").write_text(json.dumps({"image": "a.png", "unit": "pixels", "boxes": boxes}))
    told = tile(SourceConfig("jsonl", str(tmp_path / "my.jsonl")), tmp_path / "out", Settings(size=64, overlap=16))
    assert (told["phrases"], told["kept"]) == (1, 0)


def test_formats_that_tell_objects_only_with_their_records(world, tmp_path):
    told = tile(SourceConfig("synthetic", str(world), split="test"), tmp_path / "out", Settings(size=32, overlap=8))
    assert told["pictures"] and told["objects"] and told["kept"]


class TestGeoTiff:
    @pytest.fixture(autouse=True)
    def extra(self):
        self.rasterio = pytest.importorskip("rasterio", reason="needs the extra geo: pip install skyeye[geo]")

    def write(self, path, values, driver="GTiff", **profile):
        count, height, width = values.shape
        profile |= {"count": count, "height": height, "width": width, "dtype": values.dtype}
        with self.rasterio.open(path, "w", driver, **profile) as file:
            file.write(values)

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_windows_have_the_pixels_of_the_whole(self, tmp_path, monkeypatch):
        values = np.random.default_rng(0).integers(0, 256, (3, 70, 90), dtype=np.uint8)
        self.write(tmp_path / "a.tif", values)
        monkeypatch.setattr("skyeye.data.images.windowed._check_memory", None)  # nothing is decoded whole
        tile(tmp_path / "a.tif", tmp_path / "out", Settings(size=64, overlap=16))
        monkeypatch.undo()
        for line in lines(tmp_path / "out"):
            left, top = (int(word) for word in line["id"].split("_")[1:])
            expected = np.moveaxis(values, 0, -1)[top : top + 64, left : left + 64]
            assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / line["image"])), expected)

    @pytest.mark.parametrize("name", ["a.tif", "a.png"])
    @pytest.mark.parametrize("orientation", [1, 3, 6])
    def test_a_turned_picture_is_cut_as_it_is_shown(self, tmp_path, orientation, name):
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
        tile(tmp_path / name, tmp_path / "out", Settings(size=64, overlap=16))
        (line,) = lines(tmp_path / "out")
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / line["image"])), load_image(tmp_path / name))

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_all_tiles_of_a_picture_have_one_stretch(self, tmp_path):
        values = np.arange(64 * 128, dtype=np.uint16).reshape(1, 64, 128)
        self.write(tmp_path / "a.tif", np.concatenate([values, values * 2, values * 3, values, values]))
        tile(tmp_path / "a.tif", tmp_path / "out", Settings(size=64, overlap=0, bands="2", stretch="0,100"))
        found = np.concatenate(
            [np.asarray(Image.open(tmp_path / "out" / line["image"]))[..., 0] for line in lines(tmp_path / "out")], 1
        )
        assert np.array_equal(found, np.round(values[0] / values.max() * np.float32(255)))

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    @pytest.mark.parametrize("name, profile", [("a.tif", {"photometric": "RGB"}), ("a.png", {"driver": "PNG"})])
    def test_more_than_8_bits_are_cut_from_the_picture_as_it_is_shown(self, tmp_path, name, profile):
        values = np.arange(64 * 128, dtype=np.uint16).reshape(1, 64, 128)
        self.write(tmp_path / name, np.concatenate([values, values, values]), **profile)
        tile(tmp_path / name, tmp_path / "out", Settings(size=64, overlap=0))
        found = np.concatenate(
            [np.asarray(Image.open(tmp_path / "out" / line["image"])) for line in lines(tmp_path / "out")], 1
        )
        # numpy's percentiles 2 and 98 of 0..8191
        expected = np.clip((values[0] - 163.82) / (8027.18 - 163.82), 0, 1) * 255
        assert np.abs(found[..., 1] - expected).max() < 0.51 and np.array_equal(found, load_image(tmp_path / name))

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_complex_numbers_are_told_and_may_be_chosen(self, tmp_path):
        self.write(tmp_path / "a.tif", np.ones((1, 20, 20), np.complex64))
        told = tile(tmp_path / "a.tif", tmp_path / "out")
        assert told["tiles"] == 0 and "complex numbers" in str(told["problems"][0])
        assert tile(tmp_path / "a.tif", tmp_path / "chosen", Settings(stretch="amplitude:abs:0..2"))["tiles"] == 1


def test_the_command(dota, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["data", "tile", str(dota), str(out), "--size", "64", "--overlap", "16", "--format", "dota"]) == 0
    text = capsys.readouterr().out
    assert "7 tiles of 2 pictures" in text and "1 x malformed line" in text
    assert "5 objects: 4 boxes in tiles, 1 parts marked difficult" in text
    assert main(["data", "tile", str(dota / "images/P1.png"), str(tmp_path / "one")]) == 0
    (dota / "images/P1.png").write_bytes(b"")
    shutil.rmtree(out)
    assert main(["data", "tile", str(dota / "images"), str(out), "--size", "64", "--overlap", "16"]) == 1


def test_a_size_below_the_usual_overlap(dota, tmp_path, capsys):
    """The remedy can be followed."""
    assert main(["data", "tile", str(dota), str(tmp_path / "t"), "--size", "64", "--format", "dota"]) == 2
    remedy = re.search(r"for instance (--overlap \d+)", capsys.readouterr().err)[1].split()
    assert main(["data", "tile", str(dota), str(tmp_path / "t"), "--size", "64", "--format", "dota", *remedy]) == 0


def test_a_folder_without_the_pictures(dota, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    options = ["--format", "dota", "--images", str(tmp_path / "other")]
    assert main(["data", "tile", str(dota), str(tmp_path / "t"), *options]) == 2
    assert "no picture to cut; the first problem: " in capsys.readouterr().err and not (tmp_path / "t").exists()
