"""Windows of large pictures: the pixels of the whole, whatever the file, and references that name one."""

import numpy as np
import pytest
import rasterio
from PIL import Image

from skyeye.data.images.load import image_size, load_image
from skyeye.data.images.raster import open_raster
from skyeye.data.images.reference import parse_reference, parse_window
from skyeye.data.images.windowed import PictureWindows, RasterWindows, open_windows, stated_stretch
from skyeye.errors import SkyEyeError


@pytest.fixture
def tiff(tmp_path):
    """(name, bands, profile...) -> the path of a TIFF."""

    def write(name, bands, **profile):
        count, height, width = bands.shape
        kind = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype}
        with rasterio.open(tmp_path / name, "w", **kind, **profile) as file:
            file.write(bands)
        return str(tmp_path / name)

    return write


def noise(count, dtype=np.uint8, high=256):
    return np.random.default_rng(count).integers(0, high, (count, 40, 60)).astype(dtype)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_windows_of_8_bits_are_parts_of_what_is_loaded_also_with_alpha(tiff, count):
    path = tiff(
        "a.tif",
        noise(count),
        photometric="rgb" if count > 1 else "minisblack",
        **({"alpha": "yes"} if count == 4 else {}),
    )
    with open_windows(path) as reader:
        assert isinstance(reader, RasterWindows)
        view = reader.read((10, 5, 30, 25))
    assert np.array_equal(np.asarray(view.image), np.asarray(load_image(path))[5:25, 10:30])


def test_a_reference_names_a_window(tiff):
    path = tiff("a.tif", noise(3), photometric="rgb")
    reference = f"{path}#window=10,5,30,25"
    assert image_size(reference) == (20, 20)
    assert np.array_equal(np.asarray(load_image(reference)), np.asarray(load_image(path))[5:25, 10:30])
    for text in ("1,2,3", "a,b,c,d", "5,5,5,9", "-1,0,3,3"):
        with pytest.raises(SkyEyeError, match="left,top,right,bottom"):
            parse_window(text, "x")
    with pytest.raises(SkyEyeError, match="leaves the picture of 60 x 40"):
        load_image(f"{path}#window=50,0,70,20")


def test_windows_of_png_are_cut_from_the_whole(tmp_path):
    Image.fromarray(np.moveaxis(noise(3), 0, 2)).save(tmp_path / "a.png")
    with open_windows(str(tmp_path / "a.png")) as reader:
        assert isinstance(reader, PictureWindows) and reader.size == (60, 40)
        assert reader.read((0, 0, 60, 40), 2).image.size == (30, 20)
    assert load_image(f"{tmp_path / 'a.png'}#window=0,0,7,9").size == (7, 9)


def test_deep_windows_are_shown_by_the_stretch_of_the_whole(tiff):
    bands = np.tile(np.arange(60, dtype=np.uint16) * 10, (1, 40, 1))
    path = tiff("a.tif", bands)
    assert stated_stretch(f"{path}#stretch=0,100") == "abs:0.0..590.0"
    stated = f"{path}#stretch={stated_stretch(f'{path}#stretch=0,100')}&window=30,0,60,40"
    shown = np.asarray(load_image(stated))
    assert shown.min() == round(300 / 590 * 255) and shown.max() == 255
    assert np.array_equal(shown, np.asarray(load_image(f"{path}#stretch=0,100&window=30,0,60,40")))
    assert stated_stretch(tiff("b.tif", noise(3), photometric="rgb")) is None
    assert parse_reference(stated)[1]["window"] == "30,0,60,40"


def test_pixels_without_data_are_counted_and_reduced_windows_are_means(tiff):
    bands = np.full((1, 40, 60), 100, np.uint16)
    bands[:, :, :20] = 0
    bands[:, ::2, 20:] = 300
    path = tiff("a.tif", bands, nodata=0)
    with open_windows(f"{path}#stretch=abs:0..400") as reader:
        assert reader.read((0, 0, 40, 40)).known == 0.5
        small = np.asarray(reader.read((20, 0, 60, 40), 4).image)
    assert small.shape == (10, 10, 3) and set(small.ravel()) == {round(200 / 400 * 255)}
    with open_raster(path) as raster:
        assert raster.read(None, (20, 0, 60, 40), 2).max() in (100, 300)  # not averaged unless asked to be
