"""Stretches: what they may be, and one for a set of pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.images.load import load_image
from skyeye.data.images.stretch import parse_bands, parse_stretch, set_stretch
from skyeye.errors import SkyEyeError

rasterio = pytest.importorskip("rasterio", reason="needs the extra geo: pip install skyeye[geo]")

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.mark.parametrize("bands", [None, [3, 2, 1], [5]])
def test_one_stretch_for_a_set(tmp_path, write_raster, bands):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 3000, (5, 20, 30)).astype(np.uint16) for _ in range(3)]
    files = [write_raster(tmp_path / f"{n}.tif", values) for n, values in enumerate(arrays)]
    text = set_stretch(files, bands)
    chosen = np.concatenate(
        [values[[b - 1 for b in bands or (1, 2, 3)]].reshape(len(bands or "abc"), -1) for values in arrays], axis=1
    )
    for part, band in zip(text.removeprefix("abs:").split(","), chosen, strict=True):
        low, high = map(float, part.split(".."))
        # the smallest values that at least 2 and 98 of 100 pixels do not exceed
        ordered = np.sort(band)
        assert (low, high) == (ordered[int(np.ceil(0.02 * len(band))) - 1], ordered[int(np.ceil(0.98 * len(band))) - 1])
    assert parse_stretch(text, "") is not None
    load_image(f"{files[0]}#stretch={text}" + (f"&bands={','.join(map(str, bands))}" if bands else ""))


def test_a_set_with_different_bands_or_without_pictures(five_bands, write_raster, tmp_path):
    with pytest.raises(SkyEyeError, match="has 1 bands where the pictures before have 3"):
        set_stretch([five_bands, write_raster(tmp_path / "b.tif", np.ones((1, 2, 2), np.uint16))])
    with pytest.raises(SkyEyeError, match="no picture with data"):
        set_stretch([])


@pytest.mark.parametrize("text", ["", "0", "1,2", "1,2,3,4", "a", "1,,2", "-1", "1.5", "99999", "1,2,x"])
def test_bands_that_are_none(text):
    with pytest.raises(SkyEyeError, match="not one or three numbers from 1"):
        parse_bands(text, "x")


@pytest.mark.parametrize(
    "text", ["", "2", "98,2", "-1,98", "2,101", "a,b", "abs:", "abs:5", "abs:9..1", "abs:1..2,3..4", "2,nan"]
)
def test_stretches_that_are_none(text):
    with pytest.raises(SkyEyeError, match="neither two percentiles nor abs"):
        parse_stretch(text, "x")


@given(st.text(alphabet="abs:.,0123456789-e", max_size=20))
def test_any_text_is_a_stretch_or_refused_in_words(text):
    for parse in (parse_stretch, parse_bands):
        try:
            parse(text, "x")
        except SkyEyeError as error:
            assert error.remedy
