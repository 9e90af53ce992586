"""Windows of a large picture as RGB, read one by one where its format allows, all of them shown by one stretch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from skyeye.data.geometry.windows import Window
from skyeye.data.images.depth import is_deep
from skyeye.data.images.failures import decoding
from skyeye.data.images.load import exif_orientation, load_image, open_picture, to_rgb
from skyeye.data.images.raster import REMOTE, PillowRaster, RasterioRaster, open_raster
from skyeye.data.images.reference import add_details, parse_reference, parse_window
from skyeye.data.images.stretch import Range, overview_stretch, parse_bands, parse_stretch, stretched
from skyeye.errors import SkyEyeError


@dataclass(frozen=True)
class View:
    """What a window shows.

    Attributes:
        image: RGB.
        known: share of its pixels that have data.
    """

    image: Image.Image
    known: float


class WindowReader(Protocol):
    """An open picture."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        ...

    @property
    def raster(self) -> RasterioRaster | PillowRaster | None:
        """What is read by bands; None where the picture was decoded whole."""
        ...

    def read(self, window: Window, every: int = 1) -> View:
        """The pixels of a window, or of its n x n pixels the mean."""
        ...


@dataclass(frozen=True)
class RasterWindows:
    """Windows read from the file, through one choice of bands and one stretch."""

    raster: RasterioRaster | PillowRaster
    bands: list[int] | None
    stretch: Range | list[Range] | None
    where: str

    @property
    def size(self) -> tuple[int, int]:
        return self.raster.size

    def read(self, window: Window, every: int = 1) -> View:
        values = self.raster.read(self.bands, window, every, average=every > 1)
        mask = np.ma.getmaskarray(values).all(axis=0)
        return View(stretched(values, self.stretch, self.where), 1 - float(mask.mean()))


@dataclass(frozen=True)
class PictureWindows:
    """Windows of a picture that was decoded whole, because its format knows no parts."""

    picture: Image.Image
    where: str
    raster: None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.size

    def read(self, window: Window, every: int = 1) -> View:
        part = to_rgb(self.picture.crop(window), self.where)
        return View(part.reduce(every) if every > 1 else part, 1.0)


@contextmanager
def open_windows(reference: str, workers: int = 1, remote: bool = False) -> Iterator[WindowReader]:
    """A picture, opened for reading windows.

    Args:
        reference: may choose ``bands`` and ``stretch``; percentiles are measured once, on the whole picture.
        workers: processes that do the same at the same time, of other pictures; their memory has to last for all.
        remote: see :func:`skyeye.data.images.raster.open_raster`.

    Raises:
        SkyEyeError: unreadable, or it would have to be decoded whole and is larger than the memory.
    """
    path, details = parse_reference(reference)
    with decoding(reference):
        if (remote and path.startswith(REMOTE)) or ("frame" not in details and _window_wise(reference, details)):
            with open_raster(reference, remote) as raster:
                bands = parse_bands(details.get("bands"), reference)
                stretch = overview_stretch(raster, bands, parse_stretch(details.get("stretch"), reference))
                yield RasterWindows(raster, bands, stretch, reference)
            return
        yield PictureWindows(_whole(reference, details, workers), reference)


def read_window(reference: str | Path) -> Image.Image:
    """The ``window`` of a reference in RGB, shown as the whole picture is.

    Raises:
        SkyEyeError: as :func:`open_windows`; the window leaves the picture.
    """
    path, details = parse_reference(reference)
    window = parse_window(details.pop("window"), str(reference))
    with open_windows(add_details(path, **details)) as reader:
        if window[2] > reader.size[0] or window[3] > reader.size[1]:
            what = f"the window leaves the picture of {reader.size[0]} x {reader.size[1]} pixels"
            raise SkyEyeError(what, where=str(reference), remedy="another file may have taken its place")
        return reader.read(window).image


def stated_stretch(reference: str) -> str | None:
    """The stretch of a picture as values (``abs:120..3400``), so that each of its windows is shown as the whole;
    None: its pixels are shown as they are."""
    with open_windows(reference) as reader:
        stretch = getattr(reader, "stretch", None)
        if stretch is None:
            return None
        amplitude = "amplitude:" if getattr(reader.raster, "amplitude", False) else ""
        return f"{amplitude}abs:" + ",".join(f"{low!r}..{high!r}" for low, high in stretch)


def _window_wise(reference: str, details: dict[str, str]) -> bool:
    """Whether windows are read by rasterio: what :func:`~skyeye.data.images.load.load_image` reads by it, and TIFFs
    of which it gives Pillow's pixels (8 bits, no palette); nothing that is turned before it is shown."""
    picture = open_picture(reference, large=True)
    if picture is None:
        return True
    with picture:
        if exif_orientation(picture) != 1:
            return False
        if details.keys() & {"bands", "stretch"} or is_deep(picture):
            return True
        if picture.format != "TIFF":
            return False
    with open_raster(reference) as raster:
        return raster.is_plain


def _whole(reference: str, details: dict[str, str], workers: int) -> Image.Image:
    picture = None if "frame" in details else open_picture(reference, large=True)
    if picture is None:
        return load_image(reference)
    with picture:
        _check_memory(picture, reference, workers)
        if details.keys() & {"bands", "stretch"} or is_deep(picture):
            return load_image(reference)
        picture = ImageOps.exif_transpose(picture)
        picture.load()
        return picture


def _check_memory(picture: Image.Image, where: str, workers: int) -> None:
    need = picture.width * picture.height * max(len(picture.getbands()), 1) * (4 if picture.mode in ("I", "F") else 1)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    if free is not None and need * workers > 0.8 * free:
        raise SkyEyeError(
            f"decoding needs {need / 2**30:.1f} GiB for each worker, {free / 2**30:.1f} GiB are free",
            where=where,
            remedy="convert it to a tiled GeoTIFF, which is read window by window (pip install skyeye[geo])",
        )
