"""Where the pixels of a raster lie on the ground, and back.

A pixel's upper left corner has whole numbers (column, row); its middle lies half a pixel further. Longitude comes
before latitude, and east before north, whatever the order of axes of a coordinate system.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from skyeye.data.images.raster import PillowRaster, RasterioRaster
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    import pyproj

LONGITUDE_LATITUDE = "EPSG:4326"


@dataclass(frozen=True)
class Georeference:
    """The affine transform of a raster and the coordinate system that it leads to.

    Attributes:
        transform: a, b, c, d, e, f of ``x = a * column + b * row + c`` and ``y = d * column + e * row + f``.
        crs: the coordinate system, as text that PROJ understands.
        size: width and height of the raster in pixels.
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str
    size: tuple[int, int]

    def to_map(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) columns and rows -> (n, 2) coordinates in :attr:`crs`."""
        a, b, c, d, e, f = self.transform
        columns, rows = points[:, 0], points[:, 1]
        return np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=1)

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) coordinates in :attr:`crs` -> (n, 2) columns and rows."""
        a, b, c, d, e, f = self.transform
        x, y = points[:, 0] - c, points[:, 1] - f
        return np.stack([e * x - b * y, a * y - d * x], axis=1) / (a * e - b * d)

    def project(self, points: np.ndarray, crs: str) -> np.ndarray:
        """(n, 2) columns and rows -> (n, 2) coordinates in another system; not finite where it has none."""
        return transformed(self.to_map(points), self.crs, crs)

    @cached_property
    def ground(self) -> str:
        """A system in metres around the middle of the raster: areas in it are true, lengths near the middle, too."""
        middle = np.array([[self.size[0] / 2, self.size[1] / 2]])
        longitude, latitude = self.project(middle, LONGITUDE_LATITUDE)[0]
        if not (math.isfinite(longitude) and math.isfinite(latitude)):
            raise SkyEyeError("the raster lies nowhere on the Earth", where=name_of(self.crs), remedy="mend its CRS")
        return f"+proj=laea +lat_0={latitude:.9f} +lon_0={longitude:.9f} +datum=WGS84 +units=m"

    @cached_property
    def metres(self) -> float:
        """Length of a pixel's side in metres, in the middle of the raster: the mean of both."""
        column, row = self.size[0] / 2, self.size[1] / 2
        corner = self.project(np.array([[column, row], [column + 1, row], [column, row + 1]]), self.ground)
        return float(np.hypot(*(corner[1:] - corner[0]).T).mean())


def georeference_of(raster: RasterioRaster | PillowRaster | None, crs: str | None = None) -> Georeference | str:
    """Where a raster lies, or in a few words why that is not known.

    Args:
        crs: the coordinate system of a raster that states none.

    Raises:
        SkyEyeError: ``crs`` is none that PROJ knows.
    """
    dataset = getattr(raster, "dataset", None)
    if raster is None or dataset is None:
        return "its format holds no coordinates"
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    if (a, b, c, d, e, f) == (1, 0, 0, 0, 1, 0):
        if dataset.gcps[0]:
            return "it has ground control points and no transform (gdalwarp makes one of them)"
        return "it has no geotransform"
    if not all(map(math.isfinite, (a, b, c, d, e, f))) or a * e == b * d:
        return "its geotransform maps all pixels onto a line"
    stated = None if dataset.crs is None else dataset.crs.to_wkt()
    if stated is None and crs is None:
        return "it has a geotransform and no CRS (--scene-crs gives it one)"
    return Georeference((a, b, c, d, e, f), stated or crs_text(str(crs)), raster.size)


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
    code = authority_code(crs)
    return code or str(_crs(crs).name)


def authority_code(crs: str) -> str | None:
    """``EPSG:32633`` of a system that has such a code."""
    found = _crs(crs).to_authority(min_confidence=70)
    return None if found is None else ":".join(found)


def is_in_degrees(crs: str) -> bool:
    """Whether the coordinates are longitude and latitude."""
    return bool(_crs(crs).is_geographic)


def corners_of(boxes: Sequence[tuple[float, float, float, float]]) -> np.ndarray:
    """(n, 4, 2) corners of upright boxes (left, top, right, bottom), clockwise as seen from the upper left."""
    left, top, right, bottom = np.asarray(boxes, dtype=float).reshape(-1, 4).T
    return np.stack(
        [np.stack(pair, axis=1) for pair in ((left, top), (right, top), (right, bottom), (left, bottom))], 1
    )


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
