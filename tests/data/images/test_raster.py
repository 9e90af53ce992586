"""GeoTIFFs: bands, stretches, what is missing in them; values by arithmetic on files written here."""

import io
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_source
from skyeye.data.images import limits
from skyeye.data.images.load import image_size, load_image
from skyeye.errors import SkyEyeError

rasterio = pytest.importorskip("rasterio", reason="needs the extra geo: pip install skyeye[geo]")

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def pixels(reference) -> np.ndarray:
    picture = load_image(reference)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def test_bands_are_chosen_and_stretched_between_percentiles(five_bands):
    found = pixels(f"{five_bands}#bands=4,3,2&stretch=0,100")
    expected = np.round(np.arange(100).reshape(10, 10) / 99 * 255)
    for channel in range(3):  # each band fills its own range
        assert np.array_equal(found[..., channel], expected)


def test_values_for_black_and_white_are_kept_between_pictures(five_bands):
    found = pixels(f"{five_bands}#bands=1,2,3&stretch=abs:0..990")
    ramp = np.arange(100).reshape(10, 10)
    for channel in range(3):
        expected = np.clip(ramp * 10 * (channel + 1) / 990, 0, 1) * 255
        assert np.array_equal(found[..., channel], np.round(expected))
    found = pixels(f"{five_bands}#bands=1,2,3&stretch=abs:0..990,0..1980,0..2970")
    assert np.array_equal(found[..., 0], found[..., 1]) and np.array_equal(found[..., 1], found[..., 2])


def test_without_a_choice_the_first_three_bands_between_the_percentiles_2_and_98(five_bands):
    found = pixels(five_bands)
    # numpy's percentiles of 0..99 lie at 0.02 * 99 and 0.98 * 99
    expected = np.clip((np.arange(100).reshape(10, 10) - 1.98) / (97.02 - 1.98), 0, 1) * 255
    assert np.array_equal(found[..., 0], np.round(expected)) and np.array_equal(found[..., 0], found[..., 2])


def test_eight_bits_stay_as_they_are_unless_told(tmp_path, write_raster):
    values = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    file = write_raster(tmp_path / "a.tif", [*values, *values, values[0]])
    assert np.array_equal(pixels(f"{file}#bands=1,2,1"), np.stack([values[0], values[1], values[0]], axis=-1))
    assert pixels(f"{file}#bands=2")[..., 1].tolist() == values[1].tolist()
    assert pixels(f"{file}#stretch=abs:0..23").max() == 255


def test_pixels_without_data_are_black_and_not_measured(tmp_path, write_raster):
    values = np.full((1, 4, 4), 7, np.uint16)
    values[0, 0] = [100, 200, 300, 400]
    file = write_raster(tmp_path / "a.tif", values, nodata=7)
    assert pixels(f"{file}#stretch=0,100")[0, :, 0].tolist() == [0, 85, 170, 255]
    assert pixels(f"{file}#stretch=0,100")[1:].max() == 0
    floats = np.array([[[np.nan, 1.0, 2.0, np.inf]]], np.float32)
    assert pixels(f"{write_raster(tmp_path / 'f.tif', floats)}#stretch=0,100")[0, :, 0].tolist() == [0, 0, 255, 0]


def test_a_band_of_one_value_and_one_without_data(tmp_path, write_raster):
    assert pixels(f"{write_raster(tmp_path / 'a.tif', np.full((1, 2, 2), 900, np.uint16))}#stretch=2,98").max() == 0
    empty = write_raster(tmp_path / "b.tif", np.zeros((1, 2, 2), np.uint16), nodata=0)
    assert pixels(f"{empty}#stretch=2,98").max() == 0


def test_floats_and_negative_numbers(tmp_path, write_raster):
    file = write_raster(tmp_path / "a.tif", np.array([[[-1.0, 0.0, 1.0]]] * 3, np.float32))
    assert pixels(file)[0, :, 0].tolist() == [0, 128, 255]


def test_a_member_of_a_shard(five_bands, tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(five_bands, "a.tif")
    with tarfile.open(tmp_path / "s.tar") as tar:
        (member,) = tar.getmembers()
    reference = f"{tmp_path / 's.tar'}#offset={member.offset_data}&size={member.size}"
    assert np.array_equal(pixels(reference), pixels(five_bands))
    assert np.array_equal(pixels(f"{reference}&bands=4,3,2"), pixels(f"{five_bands}#bands=4,3,2"))
    assert image_size(reference) == (10, 10)


def test_options_of_a_source_reach_every_reference(five_bands, tmp_path):
    (tmp_path / "my.jsonl").write_text('{"image": "a.tif", "caption": "x"}\n{"image": "a.tif#bands=5", "caption": "y"}')
    for stretch in ([2, 98], "2,98"):
        source = SourceConfig("jsonl", str(tmp_path / "my.jsonl"), options={"bands": [4, 3, 2], "stretch": stretch})
        assert [record.images for record in read_source(source, "x")] == [
            (f"{five_bands}#bands=4,3,2&stretch=2,98",),
            (f"{five_bands}#bands=5&stretch=2,98",),
        ]
    for options, words in (
        ({"bands": [1, 2]}, "bands '1,2' are not one or three"),
        ({"stretch": "98,2"}, "'98,2' is nei"),
    ):
        with pytest.raises(SkyEyeError, match=f"sources.x.options: .*{words}"):
            read_source(SourceConfig("jsonl", str(tmp_path / "my.jsonl"), options=options), "x")
    with pytest.raises(SkyEyeError, match="unknown option 'stretsh' .did you mean 'stretch'"):
        read_source(SourceConfig("jsonl", str(tmp_path / "my.jsonl"), options={"stretsh": "2,98"}), "x")


def message(reference) -> str:
    with pytest.raises(SkyEyeError) as caught:
        load_image(reference)
    assert str(caught.value).startswith(str(reference)) and caught.value.remedy
    return str(caught.value)


def test_what_cannot_be_read_is_told(five_bands, tmp_path):
    assert "there is no band 6; the picture has 5" in message(f"{five_bands}#bands=6")
    assert "the image is missing" in message(f"{tmp_path / 'none.tif'}#bands=1")
    assert "the image is missing" in message("/vsicurl/http://localhost/a.tif#bands=1")
    cut = tmp_path / "cut.tif"
    cut.write_bytes(five_bands.read_bytes()[:700])
    assert "truncated or damaged" in message(f"{cut}#bands=1")
    # a description that names other files and addresses is not followed
    vrt = tmp_path / "a.tif.vrt"
    vrt.write_text(
        f'<VRTDataset rasterXSize="10" rasterYSize="10"><VRTRasterBand dataType="UInt16" band="1">'
        f"<SimpleSource><SourceFilename>{five_bands}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    assert "not an image: it is XML" in message(f"{vrt}#bands=1")


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(five_bands, monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 99)
    assert "10 x 10 pixels, more than 99" in message(five_bands)
    assert "skyeye data tile" in message(f"{five_bands}#bands=1")
    assert image_size(five_bands) == (10, 10)


class TestWithoutRasterio:
    @pytest.fixture(autouse=True)
    def hidden(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "rasterio", None)

    def test_what_pillow_knows_is_read(self, tmp_path):
        Image.fromarray(np.array([[0, 1000, 2000]], np.uint16)).save(tmp_path / "a.tif")
        assert pixels(f"{tmp_path / 'a.tif'}#stretch=0,100")[0, :, 1].tolist() == [0, 128, 255]
        Image.fromarray(np.array([[[9, 8, 7]]], np.uint8)).save(tmp_path / "b.png")
        assert pixels(f"{tmp_path / 'b.png'}#bands=3,2,1").tolist() == [[[7, 8, 9]]]
        data = io.BytesIO()
        Image.new("L", (3, 2), 5).save(data, "PNG")
        (tmp_path / "s").write_bytes(b"x" * 7 + data.getvalue())
        assert pixels(f"{tmp_path / 's'}#offset=7&size={len(data.getvalue())}&bands=1").max() == 5

    def test_the_rest_names_the_extra(self, five_bands):
        assert "pip install skyeye[geo]" in message(five_bands)
        assert "pip install skyeye[geo]" in message(f"{five_bands}#bands=1")

    def test_sixteen_bits_in_colour_are_not_cut_to_eight(self, tmp_path):
        # written by hand: Pillow writes no such file
        entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 300)]
        entries += [(277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 6)]
        data = bytearray(306)
        data[:10] = b"II*\0\x08\0\0\0" + len(entries).to_bytes(2, "little")
        for index, (tag, kind, count, value) in enumerate(entries):
            entry = tag.to_bytes(2, "little") + kind.to_bytes(2, "little")
            data[10 + 12 * index : 22 + 12 * index] = entry + count.to_bytes(4, "little") + value.to_bytes(4, "little")
        data[200:206] = b"\x10\0" * 3
        data[300:306] = b"\xff\x01" * 3
        (tmp_path / "a.tif").write_bytes(data)
        assert "pip install skyeye[geo]" in message(tmp_path / "a.tif")
        assert "pip install skyeye[geo]" in message(f"{tmp_path / 'a.tif'}#stretch=2,98")
