"""Rasters of every depth, number of bands and container: the documented pixels, or one error in words."""

import io
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from skyeye.data.images.load import image_size, load_image
from skyeye.errors import SkyEyeError

pytest.importorskip("rasterio", reason="needs the extra geo: pip install skyeye[geo]")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

#: Name -> profile for rasterio.
TIFFS = {
    "plain": {},
    "rgb": {"photometric": "RGB"},
    "planes": {"interleave": "band"},
    "pixels": {"interleave": "pixel"},
    "tiled": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"},
    "lzw": {"compress": "lzw", "predictor": 2},
    "zstd": {"compress": "zstd"},
    "lerc": {"compress": "lerc"},
    "big": {"BIGTIFF": "YES"},
    "big endian": {"ENDIANNESS": "BIG"},
}
REAL = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
COMPLEX = ("complex64", "complex128")


def values_of(dtype: str, bands: int) -> np.ndarray:
    """(bands, 20, 30): values with a range of a few thousand (8 bits: of a hundred), negative ones where they exist."""
    rng = np.random.default_rng(bands)
    high = 100 if dtype.endswith("int8") else 2750
    low = 0 if dtype.startswith("u") else -100
    values = rng.uniform(low, high, (bands, 20, 30))
    if dtype in COMPLEX:
        values = values + 1j * rng.uniform(low, high, (bands, 20, 30))
    return values.astype(dtype)


def expected(values: np.ndarray) -> np.ndarray:
    """The rule of docs/own_data.md, written down once more."""
    shown = values[:3] if len(values) >= 3 else values[[0, 0, 0]]
    if values.dtype != np.uint8:
        shown = shown.astype(np.float64)
        low, high = (np.percentile(shown, share, axis=(1, 2), keepdims=True) for share in (2, 98))
        shown = np.clip((shown - low) / (high - low), 0, 1) * 255
    return np.moveaxis(shown, 0, 2)


def assert_shown(reference, values: np.ndarray, label: object) -> None:
    shown = np.asarray(load_image(reference)).astype(np.float64)
    assert np.abs(shown - expected(values)).max() < 0.6, label  # rounding of a stretch in 32 bits
    assert image_size(reference) == (30, 20), label


@pytest.mark.parametrize("dtype", REAL)
def test_tiffs(dtype, tmp_path, write_raster):
    for bands in (1, 2, 3, 4, 5):
        values = values_of(dtype, bands)
        for name, profile in TIFFS.items():
            if (name == "rgb" and bands < 3) or (name == "lzw" and dtype.startswith("float")):
                continue
            if name == "lerc" and dtype.endswith("64") and dtype != "float64":
                continue  # LERC has no such numbers
            assert_shown(write_raster(tmp_path / "a.tif", values, **profile), values, (bands, name))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("driver, suffix", [("PNG", "png"), ("JP2OpenJPEG", "jp2"), ("HFA", "img"), ("PNM", "ppm")])
def test_other_containers(dtype, driver, suffix, tmp_path, write_raster):
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES"} if suffix == "jp2" else {}
    for bands in (1, 3) if driver == "PNM" else (1, 2, 3, 4):
        values = values_of(dtype, bands)
        if suffix == "png" and bands in (2, 4):
            values[-1] = np.iinfo(dtype).max  # alpha
        assert_shown(write_raster(tmp_path / f"a.{suffix}", values, driver, **lossless), values, bands)


def test_tags_and_containers_make_no_difference(tmp_path, write_raster):
    values = values_of("uint16", 3)
    files = [
        write_raster(tmp_path / "a.tif", values),
        write_raster(tmp_path / "rgb.tif", values, photometric="RGB"),
        write_raster(tmp_path / "a.png", values, "PNG"),
    ]
    first, *others = (np.asarray(load_image(file)) for file in files)
    assert all(np.array_equal(first, other) for other in others)


def test_a_member_of_a_shard(tmp_path, write_raster):
    for name, driver in (("a.tif", "GTiff"), ("a.png", "PNG"), ("a.img", "HFA")):
        values = values_of("uint16", 3)
        with tarfile.open(tmp_path / "s.tar", "w") as tar:
            tar.add(write_raster(tmp_path / name, values, driver), name)
        with tarfile.open(tmp_path / "s.tar") as tar:
            (member,) = tar.getmembers()
        assert_shown(f"{tmp_path / 's.tar'}#offset={member.offset_data}&size={member.size}", values, name)


@pytest.mark.parametrize("dtype", [*COMPLEX, "complex_int16"])
def test_complex_numbers_are_refused_or_shown_by_their_amplitude(dtype, tmp_path, write_raster):
    values = values_of("complex64" if dtype == "complex_int16" else dtype, 2).round()
    file = write_raster(tmp_path / "a.tif", values, dtype=dtype)
    assert image_size(file) == (30, 20)
    for reference in (file, f"{file}#bands=2", f"{file}#stretch=2,98"):
        with pytest.raises(SkyEyeError, match="the pixels are complex numbers .*, which have no brightness") as caught:
            load_image(reference)
        assert "amplitude:2,98" in caught.value.remedy and "\n" not in str(caught.value)
    for choice in ("amplitude", "amplitude:2,98"):
        assert_shown(f"{file}#stretch={choice}", np.abs(values), choice)
    shown = np.asarray(load_image(f"{file}#stretch=amplitude:abs:0..4000&bands=2"))[..., 0]
    assert np.array_equal(shown, np.round(np.clip(np.abs(values[1]) / 4000, 0, 1) * 255))


def test_palettes_few_bits_and_cmyk_read_as_bands(tmp_path, write_raster):
    colours = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).quantize(8)
    colours.save(tmp_path / "p.tif")
    assert np.array_equal(load_image(f"{tmp_path / 'p.tif'}#bands=1,2,3"), colours.convert("RGB"))
    values = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    file = write_raster(tmp_path / "w.tif", values, photometric="MINISWHITE")
    assert np.array_equal(np.asarray(load_image(file))[..., 0], 255 - values[0])
    assert np.array_equal(load_image(f"{file}#bands=1"), load_image(file))
    bits = Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5) % 3 == 0)
    bits.save(tmp_path / "b.tif")
    assert np.array_equal(load_image(f"{tmp_path / 'b.tif'}#bands=1"), bits.convert("RGB"))
    values = values_of("uint16", 4)
    file = write_raster(tmp_path / "c.tif", values, photometric="CMYK")
    with pytest.raises(SkyEyeError, match="bands are black, cyan, magenta, yellow, not red"):
        load_image(file)


def test_kinds_that_only_pillow_knows_may_be_stretched(tmp_path):
    Image.fromarray(np.array([[100, 150, 200]], np.uint8)).save(tmp_path / "a.bmp")
    shown = np.asarray(load_image(f"{tmp_path / 'a.bmp'}#stretch=abs:100..200"))
    assert shown[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(SkyEyeError, match="stretch names 3 ranges of values for 1 band"):
        load_image(f"{tmp_path / 'a.bmp'}#stretch=abs:1..2,1..2,1..2")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_bands_of_a_turned_picture_are_turned(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3))
    for name in ("a.png", "a.tif"):
        picture.save(tmp_path / name, exif=exif)
        assert np.array_equal(load_image(f"{tmp_path / name}#bands=1,2,3"), load_image(tmp_path / name))
        assert image_size(f"{tmp_path / name}#bands=1,2,3") == load_image(tmp_path / name).size


@pytest.mark.parametrize("low, high", [(-3.4e38, 3.4e38), (1e9, 1e9 + 300), (-1e-30, 1e-30)])
def test_ranges_that_32_bits_do_not_hold(low, high, tmp_path, write_raster):
    for dtype in ("float32", "float64"):
        values = np.linspace(low, high, 600).astype(dtype).reshape(1, 20, 30)
        if np.ptp(values[0, :, 0]) == 0:
            continue
        assert_shown(write_raster(tmp_path / "a.tif", values), values, dtype)


@pytest.fixture(scope="module")
def contents(write_raster, tmp_path_factory) -> list[bytes]:
    """Small files of several kinds, to be damaged."""
    folder = tmp_path_factory.mktemp("kinds")
    files = [write_raster(folder / f"{k}.tif", values_of("uint16", 3), **TIFFS[k]) for k in ("rgb", "tiled", "big")]
    files.append(write_raster(folder / "a.jp2", values_of("uint16", 3), "JP2OpenJPEG"))
    files.append(write_raster(folder / "a.img", values_of("float32", 1), "HFA"))
    for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        stream = io.BytesIO()
        Image.fromarray(np.moveaxis(values_of("uint8", 3), 0, 2)).save(stream, form)
        (folder / form).write_bytes(stream.getvalue())
        files.append(folder / form)
    return [file.read_bytes() for file in files]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_pictures_or_one_error(data, contents, tmp_path):
    content = bytearray(data.draw(st.sampled_from(contents)))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, min(len(content), 600) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    (tmp_path / "a.tif").write_bytes(content)
    for choice in ("", "#stretch=2,98"):
        try:
            assert load_image(f"{tmp_path / 'a.tif'}{choice}").mode == "RGB"
        except SkyEyeError as error:
            assert "\n" not in str(error) and error.remedy and error.where
