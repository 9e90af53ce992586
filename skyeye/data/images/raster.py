"""Bands and windows of a picture as the numbers that the file holds; :mod:`skyeye.data.images.stretch` shows them.

rasterio reads the files (``pip install skyeye[geo]``); without it, and for kinds that it is not asked for, what Pillow
understands is read: pictures of 8 bits, and one channel of another depth.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from skyeye.data.geometry.windows import Window
from skyeye.data.images.depth import is_deep, keeps_values
from skyeye.data.images.failures import check_is_file, decoding, first_bytes, not_an_image
from skyeye.data.images.limits import any_size
from skyeye.data.images.reference import MEMBER, parse_reference, read_bytes
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    import rasterio

# First bytes -> GDAL's driver. Only formats that hold their own pixels: GDAL would follow a VRT or WMS description to
# other files and addresses.
_DRIVERS = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "GTiff"),
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP": "JP2OpenJPEG",
    b"\xffO\xffQ": "JP2OpenJPEG",
    b"EHFA_HEADER_TAG": "HFA",
    **dict.fromkeys((b"P5", b"P6"), "PNM"),
}
_NO_RGB = frozenset(("cyan", "magenta", "yellow", "black", "hue", "saturation", "lightness", "Y", "Cb", "Cr"))
_NODATA = 42113  # TIFF tag of GDAL's
#: Options of GDAL. No reading of neighbours: a side file could say where other pixels lie. And a bound for the bytes of
#: decoded blocks that are kept: its own is a twentieth of the machine's memory.
_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO", "GDAL_CACHEMAX": 192 << 20}
#: What opens the address of a raster that is read over the network, piece by piece.
REMOTE = ("http://", "https://")


class PillowRaster:
    """What Pillow understands, with the same methods as :class:`RasterioRaster`."""

    def __init__(self, image: Image.Image, where: str):
        self.is_8_bit = not is_deep(image)
        if not self.is_8_bit and not keeps_values(image):
            raise _needs_rasterio(where)
        self.where, self.size = where, image.size
        self.mode = image.mode
        if self.is_8_bit:
            self.mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        self.image, self.count = image, 3 if self.mode == "RGB" else 1
        self.nodata = getattr(image, "tag_v2", {}).get(_NODATA)
        self.is_plain = False  # nothing is gained: Pillow decodes the whole picture

    def read(
        self, bands: list[int] | None, window: Window | None = None, every: int = 1, average: bool = False
    ) -> np.ma.MaskedArray:
        """As :meth:`RasterioRaster.read`; the whole picture is decoded once, whatever the window; ``average`` is not
        for it."""
        bands = _existing(bands, self.count, self.where)
        with decoding(self.where):
            if self.image.mode != self.mode:
                self.image = self.image.convert(self.mode)
            values = np.asarray(self.image)
        values = values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)
        if window is not None:
            left, top, right, bottom = window
            values = values[:, top:bottom, left:right]
        known = _masked(values[[band - 1 for band in bands], ::every, ::every])
        try:
            return known if self.nodata is None else np.ma.masked_equal(known, float(self.nodata))
        except ValueError:  # the tag holds no number
            return known


class RasterioRaster:
    """An open file of any number of bands. A palette counts as its three colours.

    Args:
        amplitude: complex numbers are read as their absolute values; else they are refused.
    """

    def __init__(self, dataset: rasterio.DatasetReader, where: str, amplitude: bool = False):
        self.dataset, self.where, self.amplitude = dataset, where, amplitude
        self.size: tuple[int, int] = (dataset.width, dataset.height)
        self.kinds = {kind.name for kind in dataset.colorinterp}
        self.palette = _palette(dataset) if "palette" in self.kinds else None
        self.count: int = dataset.count if self.palette is None else 3
        self.is_8_bit = set(dataset.dtypes) == {"uint8"} or self.palette is not None
        few_bits = [dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS") for band in dataset.indexes]
        self.white = 2 ** int(few_bits[0]) - 1 if few_bits[0] and self.is_8_bit else 255
        self.inverted = self.is_8_bit and dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
        # grey or colours with Pillow's pixels: a palette holds numbers of colours, and one bit is not 0..255
        shown = [kind.name for kind in dataset.colorinterp[: 3 if self.count >= 3 else 1]]
        self.is_plain = self.is_8_bit and shown in (["gray"], ["red", "green", "blue"]) and not any(few_bits)

    def read(
        self, bands: list[int] | None, window: Window | None = None, every: int = 1, average: bool = False
    ) -> np.ma.MaskedArray:
        """Values (bands, height, width); pixels without data are masked.

        Args:
            bands: counted from 1; None: the first three, or the first.
            window: left, top, right, bottom in pixels; None: everything.
            every: take every n-th pixel of every n-th row only; from an overview of the file where it has one.
            average: instead, the mean of the n x n pixels (of a palette still one of them).

        Raises:
            SkyEyeError: damaged; a band that is not there; complex numbers without ``amplitude``; without a choice of
                bands, colours that are no red, green and blue.
        """
        import rasterio

        if bands is None and self.palette is None and self.kinds & _NO_RGB:
            what = f"the bands are {', '.join(sorted(self.kinds))}, not red, green and blue"
            raise SkyEyeError(what, where=self.where, remedy="convert it to RGB, or choose bands")
        bands = _existing(bands, self.count, self.where)
        files_bands = bands if self.palette is None else [1]
        if not self.amplitude and any("complex" in self.dataset.dtypes[band - 1] for band in files_bands):
            raise _complex(self.dataset.dtypes[0], self.where)
        left, top, right, bottom = window or (0, 0, *self.size)
        shape = (len(files_bands), -(-(bottom - top) // every), -(-(right - left) // every)) if every > 1 else None
        part = None if window is None else rasterio.windows.Window(left, top, right - left, bottom - top)
        mean = average and self.palette is None
        how = rasterio.enums.Resampling.average if mean else rasterio.enums.Resampling.nearest
        with decoding(self.where):
            values = self.dataset.read(files_bands, window=part, out_shape=shape, masked=True, resampling=how)
            if self.palette is not None:
                mask = np.broadcast_to(np.ma.getmaskarray(values), (len(bands), *values.shape[1:]))
                colours = self.palette[values.filled(0)[0]]
                return np.ma.masked_array(np.moveaxis(colours, 2, 0)[[band - 1 for band in bands]], mask)
            if self.white != 255:
                values = (values * (255 // self.white)).astype(np.uint8)
            if self.inverted:  # 0 is white, as Pillow shows it
                values = ~values
            return _masked(np.ma.abs(values) if values.dtype.kind == "c" else values)


@contextmanager
def open_raster(reference: str | Path, remote: bool = False) -> Iterator[RasterioRaster | PillowRaster]:
    """A picture, opened for reading bands and windows.

    Args:
        remote: an address (:data:`REMOTE`) of a GeoTIFF is opened, too. Only for what a person names: an annotation
            must not make this program ask servers.

    Raises:
        SkyEyeError: missing, unreadable, or rasterio is needed and not installed.
    """
    path, details = parse_reference(reference)
    where = str(reference)
    if remote and path.startswith(REMOTE):
        with _remote(path, where, details) as raster:
            yield raster
        return
    with decoding(where):
        check_is_file(path, where)  # GDAL knows names that are no files: /vsicurl/, s3://
        content = read_bytes(reference) if details.keys() & MEMBER else None
        head = first_bytes(where)
    driver = next((driver for start, driver in _DRIVERS.items() if head.startswith(start)), None)
    try:
        import rasterio
    except ImportError:
        rasterio = None
    if rasterio is None or driver is None:
        with _pillow(path if content is None else io.BytesIO(content), where, driver) as image:
            yield PillowRaster(image, where)
        return
    with rasterio.Env(**_ALONE):
        memory = None if content is None else rasterio.MemoryFile(content)
        with decoding(where), warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # places do not matter here
            if memory is not None:
                dataset = memory.open(driver=driver)
            else:
                dataset = rasterio.open(os.path.abspath(path), driver=driver)
        with dataset:
            with decoding(where):
                raster = RasterioRaster(dataset, where, details.get("stretch", "").startswith("amplitude"))
            yield raster
        if memory is not None:
            memory.close()


@contextmanager
def _remote(address: str, where: str, details: dict[str, str]) -> Iterator[RasterioRaster]:
    """A cloud-optimised GeoTIFF behind an address; GDAL asks the server for the blocks of a window."""
    try:
        import rasterio
    except ImportError as error:
        raise _needs_rasterio(where) from error
    # one name is asked for, and it must be a TIFF: what a server answers may name nothing further
    patience = {"GDAL_HTTP_TIMEOUT": 60, "GDAL_HTTP_CONNECTTIMEOUT": 15, "GDAL_HTTP_MAX_RETRY": 3}
    with rasterio.Env(**_ALONE, **patience, CPL_VSIL_CURL_USE_HEAD="NO"):
        with decoding(where), warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dataset = rasterio.open(f"/vsicurl/{address}", driver="GTiff")
        with dataset:
            yield RasterioRaster(dataset, where, details.get("stretch", "").startswith("amplitude"))


def knows(reference: str | Path) -> bool:
    """Whether the file is of a kind that :func:`open_raster` gives to rasterio."""
    return first_bytes(str(reference)).startswith(tuple(_DRIVERS))


@contextmanager
def _pillow(source: Any, where: str, driver: str | None) -> Iterator[Image.Image]:
    with decoding(where):
        try:
            with any_size():
                image = Image.open(source)
        except UnidentifiedImageError as error:
            raise (_needs_rasterio(where) if driver else not_an_image(where)) from error
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


def _palette(dataset: rasterio.DatasetReader) -> np.ndarray:
    """Colours (numbers, 3) of the numbers that the pixels may hold; black where the palette has none."""
    colours = np.zeros((1 << (8 * np.dtype(dataset.dtypes[0]).itemsize), 3), np.uint8)
    for number, colour in dataset.colormap(1).items():
        colours[number] = colour[:3]
    return colours


def _complex(dtype: str, where: str) -> SkyEyeError:
    return SkyEyeError(
        f"the pixels are complex numbers ({dtype}), which have no brightness",
        where=where,
        remedy="convert them to amplitude, or choose it: FILE#stretch=amplitude:2,98, options.stretch of a source, "
        "--stretch of `skyeye data tile`",
    )


def _needs_rasterio(where: str) -> SkyEyeError:
    return SkyEyeError(
        "this picture (more than 8 bits in several bands, or a kind that Pillow does not know) is read by rasterio",
        where=where,
        remedy="pip install skyeye[geo]",
    )
