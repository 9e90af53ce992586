"""GeoTIFFs and other pictures whose numbers are no brightness yet: which bands are shown, and from where to where.

``bands`` are numbers counted from 1: one (grey) or three (red, green, blue); without a choice the first three, or the
first. ``stretch`` says which value becomes black and which white: ``2,98`` percentiles of each band of this image (the
default of data that are not 8 bit), or ``abs:120..3400`` values, which may differ by band
(``abs:0..90,0..80,0..70``), so that the pictures of a set can be compared; :func:`set_stretch` measures them. Pixels
without data are left out of the percentiles and become black.

rasterio reads the files (``pip install skyeye[geo]``); without it, what Pillow understands is read: 8-bit grey and RGB,
and one channel of another depth.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from skyeye.data.images.limits import any_size, check_pixels
from skyeye.data.images.reference import parse_reference, read_bytes
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    import rasterio

#: Black and white of each band; one pair for all bands, or one for each.
Range = tuple[float, float]
PERCENTILES: Range = (2.0, 98.0)
# First bytes -> GDAL's driver. Only formats that hold their own pixels: GDAL would follow a VRT or WMS description to
# other files and addresses.
_DRIVERS = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "GTiff"),
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP": "JP2OpenJPEG",
    b"\xffO\xffQ": "JP2OpenJPEG",
}
OVERVIEW = 1 << 22
_SAMPLED = 1 << 16  # pixels taken of each image of a set whose values are not whole numbers of at most 16 bits


#: Options of every source that say how its pictures are shown.
IMAGE_OPTIONS = ("bands", "stretch")


def image_details(options: dict[str, Any], where: str) -> dict[str, str]:
    """Options ``bands`` and ``stretch`` of a source (text, a number or a list) as details of a reference.

    Raises:
        SkyEyeError: as :func:`parse_bands` and :func:`parse_stretch`.
    """
    details = {
        key: ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        for key, value in options.items()
        if value is not None
    }
    parse_bands(details.get("bands"), where)
    parse_stretch(details.get("stretch"), where)
    return details


def load_raster(reference: str | Path) -> Image.Image:
    """The chosen bands of a picture, stretched, as RGB of 8 bits.

    Raises:
        SkyEyeError: unreadable, too large, a band that it does not have, or rasterio is needed and not installed.
    """
    _, details = parse_reference(reference)
    stretch = parse_stretch(details.get("stretch"), str(reference))
    with open_raster(reference) as raster:
        check_pixels(*raster.size, str(reference))
        values = raster.read(parse_bands(details.get("bands"), str(reference)))
    return stretched(values, stretch)


def raster_size(reference: str | Path) -> tuple[int, int]:
    """Width and height in pixels, from the header."""
    with open_raster(reference) as raster:
        return raster.size


def stretched(values: np.ma.MaskedArray, stretch: Range | list[Range] | None) -> Image.Image:
    """RGB picture of bands (1 or 3, height, width).

    Args:
        stretch: percentiles; or a list of values for black and white, one or as many as bands; None: 8-bit data as they
            are, others between the percentiles 2 and 98.
    """
    if stretch is None and values.dtype == np.uint8:
        bands = [band.filled(0) for band in values]
    else:
        ranges = (
            stretch if isinstance(stretch, list) else [percentiles(band, stretch or PERCENTILES) for band in values]
        )
        ranges = ranges * len(values) if len(ranges) == 1 else ranges
        bands = [_scaled(band, *limits) for band, limits in zip(values, ranges, strict=True)]
    return Image.merge("RGB", [Image.fromarray(band) for band in (bands if len(bands) == 3 else bands[:1] * 3)])


def overview_stretch(
    raster: RasterioRaster | PillowRaster, bands: list[int] | None, stretch: Range | list[Range] | None
) -> list[Range] | None:
    """One stretch for all windows of a picture: percentiles are measured on at most :data:`OVERVIEW` of its pixels."""
    if isinstance(stretch, list) or (stretch is None and raster.is_8_bit):
        return stretch
    width, height = raster.size
    every = max(1, math.ceil(math.sqrt(width * height / OVERVIEW)))
    return [percentiles(band, stretch or PERCENTILES) for band in raster.read(bands, every=every)]


def percentiles(band: np.ma.MaskedArray, shares: Range) -> Range:
    """The values below which ``shares`` per cent of a band lie; (0, 0) for a band without data."""
    known = band.compressed()
    if not known.size:
        return 0.0, 0.0
    low, high = np.percentile(known, shares)
    return float(low), float(high)


def set_stretch(
    references: Sequence[str | Path], bands: Sequence[int] | None = None, shares: Range = PERCENTILES
) -> str:
    """One stretch for all pictures of a set, to be given as ``stretch``: ``abs:120..3400,90..2900,80..2500``.

    Exact for whole numbers of at most 16 bits; of other data, 65,536 pixels of each image spread evenly are looked at.
    """
    seen: list[list[np.ndarray]] = []
    for reference in references:
        with open_raster(reference) as raster:
            check_pixels(*raster.size, str(reference))
            values = raster.read(list(bands) if bands else None)
        seen = seen or [[] for _ in values]
        if len(seen) != len(values):
            what = f"has {len(values)} bands where the pictures before have {len(seen)}"
            raise SkyEyeError(what, where=str(reference), remedy="choose the bands")
        for known, band in zip(seen, values, strict=True):
            known.append(_counted(band.compressed()))
    if not any(len(part) for known in seen for part in known):
        raise SkyEyeError("no picture with data", where="stretch of a set", remedy="give pictures")
    limits = [_weighted_percentiles(np.concatenate(known), shares) for known in seen]
    return "abs:" + ",".join(f"{low:.10g}..{high:.10g}" for low, high in limits)


def parse_bands(text: str | None, where: str) -> list[int] | None:
    """``"4,3,2"`` -> [4, 3, 2].

    Raises:
        SkyEyeError: not one or three numbers from 1.
    """
    if text is None:
        return None
    words = text.split(",")
    if len(words) not in (1, 3) or not all(word.strip().isdecimal() and 0 < int(word) < 10000 for word in words):
        raise SkyEyeError(
            f"bands {text!r} are not one or three numbers from 1", where=where, remedy="e.g. bands: 4,3,2"
        )
    return [int(word) for word in words]


def parse_stretch(text: str | None, where: str) -> Range | list[Range] | None:
    """``"2,98"`` -> percentiles (2, 98); ``"abs:120..3400"`` -> values [(120, 3400)].

    Raises:
        SkyEyeError: neither of the two, or the ends in the wrong order.
    """
    if text is None:
        return None
    try:
        if text.startswith("abs:"):
            pairs = [_pair(part, "..") for part in text[4:].split(",")]
            if len(pairs) in (1, 3) and all(low <= high for low, high in pairs):
                return pairs
        else:
            low, high = _pair(text, ",")
            if 0 <= low < high <= 100:
                return low, high
    except ValueError:
        pass  # no numbers, or not two
    raise SkyEyeError(
        f"stretch {text!r} is neither two percentiles nor abs: values",
        where=where,
        remedy="e.g. stretch: 2,98 or stretch: abs:120..3400",
    )


def _pair(text: str, between: str) -> Range:
    low, high = text.split(between)
    return float(low), float(high)


class PillowRaster:
    """What Pillow understands, with the same methods as :class:`RasterioRaster`."""

    def __init__(self, image: Image.Image, where: str):
        depths = getattr(image, "tag_v2", {}).get(258, (8,))  # a 16-bit RGB TIFF would arrive cut to 8 bits
        plain = image.mode in ("L", "RGB") and set(np.atleast_1d(depths)) <= {1, 8}
        if not plain and not image.mode.startswith(("I", "F")):
            raise _needs_rasterio(where)
        self.image, self.where, self.count = image, where, len(image.getbands())
        self.size: tuple[int, int] = image.size
        self.is_8_bit = plain
        self.is_plain = False  # nothing is gained: Pillow decodes the whole picture

    def read(
        self, bands: list[int] | None, window: tuple[int, int, int, int] | None = None, every: int = 1
    ) -> np.ma.MaskedArray:
        """As :meth:`RasterioRaster.read`; the whole picture is decoded once, whatever the window."""
        bands = _existing(bands, self.count, self.where)
        try:
            values = np.asarray(self.image)
        except Exception as error:  # as in load_image
            raise _damaged(error, self.where) from error
        values = values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)
        if window is not None:
            left, top, right, bottom = window
            values = values[:, top:bottom, left:right]
        return _masked(values[[band - 1 for band in bands], ::every, ::every])


class RasterioRaster:
    """An open file of any number of bands."""

    def __init__(self, dataset: rasterio.DatasetReader, where: str):
        self.dataset, self.where = dataset, where
        self.size: tuple[int, int] = (dataset.width, dataset.height)
        self.count: int = dataset.count
        self.is_8_bit = set(dataset.dtypes) == {"uint8"}
        # grey or colours with Pillow's pixels: a palette holds numbers of colours, and one bit is not 0..255
        self.is_plain = self.is_8_bit and {c.name for c in dataset.colorinterp} <= {"gray", "red", "green", "blue"}
        self.is_plain &= not any(dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS") for band in dataset.indexes)

    def read(
        self, bands: list[int] | None, window: tuple[int, int, int, int] | None = None, every: int = 1
    ) -> np.ma.MaskedArray:
        """Values (bands, height, width); pixels without data are masked.

        Args:
            bands: counted from 1; None: the first three, or the first.
            window: left, top, right, bottom in pixels; None: everything.
            every: take every n-th pixel of every n-th row only.
        """
        import rasterio

        bands = _existing(bands, self.count, self.where)
        shape = (len(bands), -(-self.size[1] // every), -(-self.size[0] // every)) if every > 1 else None
        if window is not None:
            left, top, right, bottom = window
            window = rasterio.windows.Window(left, top, right - left, bottom - top)
        try:
            return _masked(self.dataset.read(bands, window=window, out_shape=shape, masked=True))
        except rasterio.errors.RasterioError as error:
            raise _damaged(error, self.where) from error


@contextmanager
def open_raster(reference: str | Path) -> Iterator[RasterioRaster | PillowRaster]:
    """A picture, opened for reading bands and windows.

    Raises:
        SkyEyeError: missing, unreadable, or rasterio is needed and not installed.
    """
    path, details = parse_reference(reference)
    where = str(reference)
    content = read_bytes(reference) if "offset" in details else None
    if content is None and not os.path.isfile(path):  # GDAL knows names that are no files: /vsicurl/, s3://
        raise SkyEyeError("the image is missing", where=where, remedy="check the folder of the images")
    try:
        import rasterio
    except ImportError:
        with _pillow(path if content is None else io.BytesIO(content), where) as image:
            yield PillowRaster(image, where)
        return
    # no reading of neighbours: a side file could say where other pixels lie
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"):
        driver = _driver(path, content, where)
        memory = None if content is None else rasterio.MemoryFile(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # places do not matter here
                if memory is not None:
                    dataset = memory.open(driver=driver)
                else:
                    dataset = rasterio.open(os.path.abspath(path), driver=driver)
        except rasterio.errors.RasterioError as error:
            raise _unknown(str(error), where) from error
        with dataset:
            yield RasterioRaster(dataset, where)
        if memory is not None:
            memory.close()


def _driver(path: str, content: bytes | None, where: str) -> str:
    if content is None:
        with open(path, "rb") as file:
            content = file.read(8)
    for start, driver in _DRIVERS.items():
        if content.startswith(start):
            return driver
    raise _unknown("no TIFF, PNG, JPEG or JPEG 2000", where)


@contextmanager
def _pillow(source: Any, where: str) -> Iterator[Image.Image]:
    try:
        with any_size():
            image = Image.open(source)
    except OSError as error:  # UnidentifiedImageError is one
        raise _needs_rasterio(where) from error
    with image:
        yield image


def _existing(bands: list[int] | None, count: int, where: str) -> list[int]:
    bands = bands or ([1, 2, 3] if count >= 3 else [1])
    if max(bands) > count:
        raise SkyEyeError(
            f"there is no band {max(bands)}; the picture has {count}", where=where, remedy="choose others"
        )
    return bands


def _masked(values: np.ndarray) -> np.ma.MaskedArray:
    values = np.ma.asarray(values)
    return np.ma.masked_invalid(values) if values.dtype.kind == "f" else values


def _scaled(band: np.ma.MaskedArray, low: float, high: float) -> np.ndarray:
    if high <= low:
        return np.zeros(band.shape, np.uint8)
    share = np.clip((band.filled(low).astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.round(share * 255).astype(np.uint8)


def _counted(values: np.ndarray) -> np.ndarray:
    """(value, how often) rows of a band."""
    if not (values.dtype.kind in "ui" and values.dtype.itemsize <= 2):
        values = values[:: max(1, len(values) // _SAMPLED)]
    known, counts = np.unique(values, return_counts=True)
    return np.stack([known.astype(np.float64), counts.astype(np.float64)], axis=1)


def _weighted_percentiles(rows: np.ndarray, shares: Range) -> Range:
    """The smallest values that at least ``shares`` per cent of the pixels do not exceed."""
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    reached = np.cumsum(rows[:, 1])
    places = np.searchsorted(reached, np.asarray(shares) / 100 * reached[-1])
    low, high = (float(rows[min(place, len(rows) - 1), 0]) for place in places)
    return low, high


def _unknown(reason: str, where: str) -> SkyEyeError:
    return SkyEyeError(f"not a picture that rasterio can read: {reason}", where=where, remedy="download it again")


def _needs_rasterio(where: str) -> SkyEyeError:
    return SkyEyeError(
        "this picture (more than 8 bits in several bands, or a kind that Pillow does not know) is read by rasterio",
        where=where,
        remedy="pip install skyeye[geo]",
    )


def _damaged(error: Exception, where: str) -> SkyEyeError:
    return SkyEyeError(
        f"the image is truncated or damaged ({type(error).__name__}: {error})",
        where=where,
        remedy="download it again or remove its records",
    )
