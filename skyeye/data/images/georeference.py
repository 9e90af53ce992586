"""Where on the map the pixels of a picture lie, as its file states it, and back.

A pixel's upper left corner has whole numbers (column, row); its middle lies half a pixel further. Longitude comes
before latitude, and east before north, whatever the order of axes of a coordinate system.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skyeye.data.images.load import stored_size
from skyeye.data.images.raster import PillowRaster, RasterioRaster, open_raster
from skyeye.data.images.reference import parse_reference, parse_window
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    import pyproj

#: Longitude and latitude, which GeoJSON is written in (RFC 7946).
WGS84 = "EPSG:4326"
#: What :func:`georeference_of` says of a raster whose coordinate system can be given.
NO_CRS = "it has a geotransform and no CRS"
Point = tuple[float, float]


@dataclass(frozen=True)
class Georeference:
    """Pixels of a picture as coordinates on a map.

    Attributes:
        transform: a, b, c, d, e, f: x = a * column + b * row + c, y = d * column + e * row + f; (0, 0) is the upper
            left corner of the first pixel.
        crs: the coordinate system of x and y, as ``EPSG:32632`` where it has a number, else in WKT.
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str

    def to_map(self, points: Sequence[Point]) -> list[Point]:
        """Pixel coordinates (column, row) as (x, y) in :attr:`crs`."""
        return self.to_crs(points, self.crs)

    def to_crs(self, points: Sequence[Point], crs: str = WGS84) -> list[Point]:
        """Pixel coordinates (column, row) as (x, y) in ``crs``; of :data:`WGS84`, longitude and latitude in degrees."""
        placed = self.project(np.array(points, dtype=float).reshape(-1, 2), crs)
        return [(float(x), float(y)) for x, y in placed]

    def project(self, points: np.ndarray, crs: str) -> np.ndarray:
        """(n, 2) columns and rows -> (n, 2) coordinates in a system; not finite where it has none."""
        a, b, c, d, e, f = self.transform
        columns, rows = points[:, 0], points[:, 1]
        placed = np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=1)
        return transformed(placed, self.crs, crs)

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) coordinates in :attr:`crs` -> (n, 2) columns and rows."""
        a, b, c, d, e, f = self.transform
        x, y = points[:, 0] - c, points[:, 1] - f
        return np.stack([e * x - b * y, a * y - d * x], axis=1) / (a * e - b * d)

    def shifted(self, column: float, row: float) -> Georeference:
        """Of the part of the picture that begins at a column and a row."""
        a, b, c, d, e, f = self.transform
        return Georeference((a, b, a * column + b * row + c, d, e, d * column + e * row + f), self.crs)

    def ground(self, size: tuple[int, int]) -> str:
        """A system in metres around the middle of a picture of this size: areas in it are true, lengths near the
        middle, too.

        Raises:
            SkyEyeError: the picture lies nowhere on the Earth.
        """
        ((longitude, latitude),) = self.to_crs([(size[0] / 2, size[1] / 2)])
        if not (math.isfinite(longitude) and math.isfinite(latitude)):
            raise SkyEyeError("the raster lies nowhere on the Earth", where=name_of(self.crs), remedy="mend its CRS")
        return f"+proj=laea +lat_0={latitude:.9f} +lon_0={longitude:.9f} +datum=WGS84 +units=m"

    def metres(self, size: tuple[int, int]) -> float:
        """Length of a pixel's side in metres, in the middle of a picture of this size: the mean of both.

        Raises:
            SkyEyeError: as :meth:`ground`.
        """
        column, row = size[0] / 2, size[1] / 2
        corner = self.project(np.array([[column, row], [column + 1, row], [column, row + 1]]), self.ground(size))
        return float(np.hypot(*(corner[1:] - corner[0]).T).mean())


def read_georeference(reference: str | Path) -> Georeference | None:
    """Where the picture of an image reference lies; None: its file does not say, or rasterio is not installed.

    What stands beside the file (``.tfw``, ``.aux.xml``) is not read, as nowhere here. A picture that EXIF turns, or
    that is placed by control points alone, has none.

    Raises:
        SkyEyeError: the file cannot be read.
    """
    _, details = parse_reference(reference)
    if "frame" in details or stored_size(reference)[1] != 1:
        return None
    with open_raster(reference) as raster:
        found = georeference_of(raster)
    if isinstance(found, str):
        return None
    if "window" in details:
        left, top, _, _ = parse_window(details["window"], str(reference))
        return found.shifted(left, top)
    return found


def georeference_of(raster: RasterioRaster | PillowRaster | None, crs: str | None = None) -> Georeference | str:
    """Where a raster lies, or in a few words why that is not known.

    Args:
        crs: the coordinate system of a raster that states none.

    Raises:
        SkyEyeError: ``crs`` is none that PROJ knows.
    """
    if not isinstance(raster, RasterioRaster):
        return "its format holds no coordinates"
    dataset = raster.dataset
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    if dataset.transform.is_identity:
        if dataset.gcps[0]:
            return "it has ground control points and no transform (gdalwarp makes one of them)"
        return "it has no geotransform"
    if not all(map(math.isfinite, (a, b, c, d, e, f))) or a * e == b * d:
        return "its geotransform maps all pixels onto a line"
    stated = None if dataset.crs is None else dataset.crs.to_string()
    if not stated and crs is None:
        return NO_CRS
    return Georeference((a, b, c, d, e, f), stated or crs_text(str(crs)))


def transformed(points: np.ndarray, source: str, target: str) -> np.ndarray:
    """(n, 2) coordinates of one system -> of another; infinite where there are none."""
    if source == target or not len(points):
        return points
    return np.stack(_transformer(source, target).transform(points[:, 0], points[:, 1]), axis=1)


def crs_text(text: str) -> str:
    """A coordinate system as a person writes it (``EPSG:32633``, WKT), checked.

    Raises:
        SkyEyeError: PROJ does not know it.
    """
    _crs(text)
    return text


def name_of(crs: str) -> str:
    """``EPSG:32633``, or the name of a system without a code."""
    return authority_code(crs) or str(_crs(crs).name)


def authority_code(crs: str) -> str | None:
    """``EPSG:32633`` of a system that has such a code."""
    found = _crs(crs).to_authority(min_confidence=70)
    return None if found is None else ":".join(found)


def is_in_degrees(crs: str) -> bool:
    """Whether the coordinates are longitude and latitude."""
    return bool(_crs(crs).is_geographic)


def corners_of(boxes: Sequence[Sequence[float]]) -> np.ndarray:
    """(n, 4, 2) corners of upright boxes (left, top, right, bottom), clockwise as seen from the upper left."""
    left, top, right, bottom = np.asarray(boxes, dtype=float).reshape(-1, 4).T
    ring = ((left, top), (right, top), (right, bottom), (left, bottom))
    return np.stack([np.stack(corner, axis=1) for corner in ring], axis=1)


@lru_cache(maxsize=64)
def _crs(text: str) -> pyproj.CRS:
    try:
        import pyproj
    except ImportError as error:
        raise SkyEyeError("coordinates need pyproj", remedy="pip install skyeye[geo]") from error
    try:
        return pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        what = f"{text[:60]!r} is no coordinate system that PROJ knows"
        raise SkyEyeError(what, remedy="e.g. EPSG:4326 or EPSG:32633") from error


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    import pyproj

    return pyproj.Transformer.from_crs(_crs(source), _crs(target), always_xy=True)
