"""A large scene with coordinates, put together from synthetic pictures, and its objects as a layer.

The scene is written row by row and never held whole. Its objects are those of the pictures, so windows that do not lie
like the pictures cut them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyeye.data.files import cannot_be_written, write_whole
from skyeye.data.images.georeference import WGS84, Georeference, corners_of, crs_text
from skyeye.errors import SkyEyeError
from skyeye.synth.render import draw_scene
from skyeye.synth.scene import Scene, make_scene

#: Values of 16 bits for black and white; the stretch ``abs:300..3360`` shows the colours of the pictures.
BLACK, STEP = 300, 12
NODATA = 0


@dataclass(frozen=True)
class Mosaic:
    """How a scene is made.

    Attributes:
        pictures: in a row, and rows.
        size: side of a picture in pixels.
        seed: of what is in them and how it is drawn.
        crs: coordinate system.
        origin: coordinates of the upper left corner.
        pixel: side of a pixel, in units of the system.
        rotation: of the rows, in degrees against the first axis of the map.
        bits: 8 (red, green, blue) or 16 (blue, green, red, near infrared, as satellites have them).
        border: pixels without data on all four sides, over the pictures.
    """

    pictures: int = 8
    size: int = 224
    seed: int = 1
    crs: str = "EPSG:32633"
    origin: tuple[float, float] = (500_000.0, 5_300_000.0)
    pixel: float = 0.5
    rotation: float = 0.0
    bits: int = 8
    border: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.pictures <= 200 and 56 <= self.size <= 1024 and self.bits in (8, 16) and self.pixel > 0):
            what = (
                f"cannot make a scene of {self.pictures} x {self.pictures} pictures of {self.size} px, {self.bits} bits"
            )
            raise SkyEyeError(what, remedy="1 to 200 pictures a side, of 56 to 1024 px, 8 or 16 bits")
        crs_text(self.crs)

    @property
    def place(self) -> Georeference:
        """Where its pixels lie."""
        c, s = (self.pixel * f(math.radians(self.rotation)) for f in (math.cos, math.sin))
        return Georeference((c, s, self.origin[0], s, -c, self.origin[1]), self.crs)


def write_mosaic(
    path: str | Path, mosaic: Mosaic, progress: Callable[[int, int], None] | None = None
) -> list[dict[str, Any]]:
    """Write the scene as a GeoTIFF, and beside it ``NAME.truth.geojson`` with its objects.

    Args:
        progress: called with (rows of pictures drawn, rows).

    Returns:
        The objects: ``label`` (the kind), ``phrase``, and ``box`` (left, top, right, bottom in pixels of the scene).

    Raises:
        SkyEyeError: rasterio is not installed, or nothing can be written.
    """
    try:
        import rasterio
    except ImportError as error:
        raise SkyEyeError("scenes are written by rasterio", remedy="pip install skyeye[geo]") from error
    path = Path(path)
    objects: list[dict[str, Any]] = []
    side = mosaic.pictures * mosaic.size
    bands, dtype = (4, "uint16") if mosaic.bits == 16 else (3, "uint8")
    profile = {"driver": "GTiff", "width": side, "height": side, "count": bands, "dtype": dtype, "compress": "deflate"}
    profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "crs": mosaic.crs, "bigtiff": "if_safer"}
    profile |= {"nodata": NODATA} if mosaic.border else {}
    profile |= {"photometric": "rgb"} if mosaic.bits == 8 else {}
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        transform = rasterio.Affine(*mosaic.place.transform)
        with rasterio.open(draft, "w", transform=transform, **profile) as file:
            for row in range(mosaic.pictures):
                strip = _row(mosaic, row, objects)
                _clear_border(strip, mosaic, row)
                file.write(strip, window=rasterio.windows.Window(0, row * mosaic.size, side, mosaic.size))
                if progress:
                    progress(row + 1, mosaic.pictures)
        draft.replace(path)
    except (OSError, rasterio.errors.RasterioError) as error:
        raise cannot_be_written(error, path) from error
    finally:
        draft.unlink(missing_ok=True)
    objects = [thing for thing in objects if _is_inside(thing["box"], side, mosaic.border)]
    write_whole(path.with_name(f"{path.stem}.truth.geojson"), _truth(objects, mosaic.place))
    return objects


def picture_of(mosaic: Mosaic, row: int, column: int) -> tuple[Scene, np.ndarray]:
    """What one of the pictures shows, and its pixels (size, size, 3)."""
    rng = np.random.default_rng([mosaic.seed, row, column])
    scene = make_scene(rng)
    return scene, np.asarray(draw_scene(scene, rng, mosaic.size))


def _row(mosaic: Mosaic, row: int, objects: list[dict[str, Any]]) -> np.ndarray:
    """Bands (bands, size, width) of a row of pictures; its objects are added to ``objects``."""
    parts = []
    for column in range(mosaic.pictures):
        scene, pixels = picture_of(mosaic, row, column)
        parts.append(pixels)
        for thing in scene.things:
            x1, y1, x2, y2 = (edge * mosaic.size for edge in thing.box)
            left, top = column * mosaic.size, row * mosaic.size
            box = [left + x1, top + y1, left + x2, top + y2]
            objects.append({"label": thing.kind, "phrase": thing.phrase, "box": [round(edge, 3) for edge in box]})
    colours = np.moveaxis(np.concatenate(parts, axis=1), 2, 0)
    if mosaic.bits == 8:
        return np.maximum(colours, 1) if mosaic.border else colours
    red, green, blue = colours.astype(np.uint16) * STEP + BLACK
    infrared = np.minimum(green * 2, 65535).astype(np.uint16)
    return np.stack([blue, green, red, infrared])


def _clear_border(strip: np.ndarray, mosaic: Mosaic, row: int) -> None:
    border, side = mosaic.border, mosaic.pictures * mosaic.size
    if not border:
        return
    strip[:, :, :border] = strip[:, :, side - border :] = NODATA
    first, last = row * mosaic.size, side - row * mosaic.size
    strip[:, : max(0, border - first)] = NODATA
    strip[:, max(0, last - border) :] = NODATA


def _is_inside(box: list[float], side: int, border: int) -> bool:
    return all(border <= edge <= side - border for edge in box)


def _truth(objects: list[dict[str, Any]], place: Georeference) -> str:
    corners = corners_of([thing["box"] for thing in objects])
    places = place.project(corners.reshape(-1, 2), WGS84).reshape(-1, 4, 2)
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*_ring(ring), _ring(ring)[0]]]},
            "properties": {"label": thing["label"], "phrase": thing["phrase"]},
        }
        for thing, ring in zip(objects, places, strict=True)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}) + "\n"


def _ring(points: np.ndarray) -> list[list[float]]:
    """Counterclockwise on the map, as RFC 7946 wants it."""
    return [[round(float(x), 9), round(float(y), 9)] for x, y in points[[0, 3, 2, 1]]]
