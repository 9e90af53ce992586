"""From the values of a picture to 8 bits: which value becomes black and which white.

``stretch`` is ``2,98``, percentiles of each band of this picture (the default of everything that is not 8 bit), or
``abs:120..3400``, values, which may differ by band (``abs:0..90,0..80,0..70``), so that the pictures of a set can be
compared; :func:`set_stretch` measures them. Pixels without data are left out of the percentiles and become black.
Complex numbers have no brightness: ``amplitude`` before either of the two (``amplitude:2,98``,
``amplitude:abs:0..300``), or the word alone, takes their absolute values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from skyeye.data.images.failures import decoding
from skyeye.data.images.limits import check_pixels
from skyeye.data.images.raster import PillowRaster, RasterioRaster, open_raster
from skyeye.data.images.reference import parse_reference
from skyeye.errors import SkyEyeError

#: Black and white of each band; one pair for all bands, or one for each.
Range = tuple[float, float]
PERCENTILES: Range = (2.0, 98.0)
AMPLITUDE = "amplitude"
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
    where = str(reference)
    _, details = parse_reference(reference)
    stretch = parse_stretch(details.get("stretch"), where)
    with decoding(where), open_raster(reference) as raster:
        check_pixels(*raster.size, where)
        return stretched(raster.read(parse_bands(details.get("bands"), where)), stretch, where)


def stretched(values: np.ma.MaskedArray, stretch: Range | list[Range] | None, where: str) -> Image.Image:
    """RGB picture of bands (1 or 3, height, width).

    Args:
        stretch: percentiles; or a list of values for black and white, one or as many as bands; None: 8-bit data as they
            are, others between the percentiles 2 and 98.
        where: the picture, for messages.

    Raises:
        SkyEyeError: the list has another length.
    """
    if stretch is None and values.dtype == np.uint8:
        bands = [band.data for band in values]  # as Pillow gives them: neither alpha nor "no data" changes a pixel
    else:
        if isinstance(stretch, list):
            ranges = stretch
        else:
            ranges = [percentiles(band, stretch or PERCENTILES) for band in values]
        if len(ranges) not in (1, len(values)):
            what = f"stretch names {len(ranges)} ranges of values for {len(values)} band"
            raise SkyEyeError(what, where=where, remedy="give one, e.g. abs:120..3400")
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
    if not math.isfinite(high - low):  # values at both ends of what 32 bits hold
        low, high = np.percentile(known.astype(np.float64), shares)
    return float(low), float(high)


def set_stretch(
    references: Sequence[str | Path], bands: Sequence[int] | None = None, shares: Range = PERCENTILES
) -> str:
    """One stretch for all pictures of a set, to be given as ``stretch``: ``abs:120..3400,90..2900,80..2500``.

    Exact for whole numbers of at most 16 bits; of other data, 65,536 pixels of each image spread evenly are looked at.
    """
    seen: list[list[np.ndarray]] = []
    prefix = ""
    for reference in references:
        with open_raster(reference) as raster:
            check_pixels(*raster.size, str(reference))
            values = raster.read(list(bands) if bands else None)
            prefix = f"{AMPLITUDE}:" if getattr(raster, "amplitude", False) else prefix
        seen = seen or [[] for _ in values]
        if len(seen) != len(values):
            what = f"has {len(values)} bands where the pictures before have {len(seen)}"
            raise SkyEyeError(what, where=str(reference), remedy="choose the bands")
        for known, band in zip(seen, values, strict=True):
            known.append(_counted(band.compressed()))
    if not any(len(part) for known in seen for part in known):
        raise SkyEyeError("no picture with data", where="stretch of a set", remedy="give pictures")
    limits = [_weighted_percentiles(np.concatenate(known), shares) for known in seen]
    return f"{prefix}abs:" + ",".join(f"{low:.10g}..{high:.10g}" for low, high in limits)


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

    What is said of amplitudes is for :func:`~skyeye.data.images.raster.open_raster`.

    Raises:
        SkyEyeError: neither of the two, or the ends in the wrong order.
    """
    if text is None:
        return None
    given = text
    if text == AMPLITUDE:
        return PERCENTILES
    text = text.removeprefix(f"{AMPLITUDE}:")
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
        f"stretch {given!r} is neither two percentiles nor abs: values",
        where=where,
        remedy="e.g. stretch: 2,98 or stretch: abs:120..3400",
    )


def _pair(text: str, between: str) -> Range:
    low, high = text.split(between)
    return float(low), float(high)


def _scaled(band: np.ma.MaskedArray, low: float, high: float) -> np.ndarray:
    if high <= low:
        return np.zeros(band.shape, np.uint8)
    # 32 bits hold the values of 16 exactly, and those of 32-bit floats unless their range leaves them
    exact = band.dtype.itemsize <= 2 or (band.dtype == np.float32 and high - low < np.finfo(np.float32).max)
    number = np.float32 if exact else np.float64
    known = np.where(np.ma.getmaskarray(band), number(low), band.data.astype(number))
    share = np.clip((known - number(low)) / number(high - low), 0, 1)
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
