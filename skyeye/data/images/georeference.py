"""Where on the map a picture lies: its transform and coordinate system, as its file states them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skyeye.data.images.load import stored_size
from skyeye.data.images.raster import RasterioRaster, open_raster

#: Longitude and latitude, which GeoJSON is written in (RFC 7946).
WGS84 = "EPSG:4326"
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
        a, b, c, d, e, f = self.transform
        return [(a * column + b * row + c, d * column + e * row + f) for column, row in points]

    def to_crs(self, points: Sequence[Point], crs: str = WGS84) -> list[Point]:
        """Pixel coordinates (column, row) as (x, y) in ``crs``; of :data:`WGS84`, longitude and latitude in degrees."""
        from rasterio.warp import transform

        placed = self.to_map(points)
        xs, ys = transform(self.crs, crs, [x for x, _ in placed], [y for _, y in placed])
        return list(zip(xs, ys, strict=True))


def read_georeference(reference: str | Path) -> Georeference | None:
    """Where the picture of an image reference lies; None: its file does not say, or rasterio is not installed.

    What stands beside the file (``.tfw``, ``.aux.xml``) is not read, as nowhere here. A picture that EXIF turns, or
    that is placed by control points alone, has none.

    Raises:
        SkyEyeError: the file cannot be read.
    """
    if "#frame=" in str(reference) or stored_size(reference)[1] != 1:
        return None
    with open_raster(reference) as raster:
        if not isinstance(raster, RasterioRaster):
            return None
        dataset = raster.dataset
        if dataset.crs is None or dataset.transform.is_identity:
            return None
        a, b, c, d, e, f = tuple(dataset.transform)[:6]
        return Georeference((a, b, c, d, e, f), dataset.crs.to_string())
