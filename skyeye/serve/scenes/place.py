"""Features in pixels of a scene -> geometries on the map, and their areas on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from skyeye.data.images.georeference import WGS84, Georeference, authority_code, crs_text, is_in_degrees
from skyeye.errors import SkyEyeError
from skyeye.serve.scenes.findings import Feature

#: ``--crs``: that of the scene itself.
SOURCE = "source"
#: Decimals: of degrees about a millimetre; of metres or pixels as well.
_DEGREES, _OTHERS = 8, 3


@dataclass(frozen=True)
class Placed:
    """Features on a map.

    Attributes:
        geometries: polygons, counterclockwise as seen with y upwards; one across the 180th meridian has two parts.
        areas: in square metres; empty where the scene has no coordinates.
        crs: of the geometries; None: they are columns and rows of the scene.
    """

    geometries: list[BaseGeometry]
    areas: list[float]
    crs: str | None


def place(features: Sequence[Feature], where: Georeference | str, size: tuple[int, int], crs: str = WGS84) -> Placed:
    """Put features on the map.

    Args:
        where, size: of the scene; text: why it has no coordinates, and columns and rows stay (y downwards).
        crs: :data:`SOURCE`, or what PROJ understands.

    Raises:
        SkyEyeError: PROJ does not know the system, or a feature lies outside of what it covers.
    """
    corners = np.array([feature.corners for feature in features], dtype=float).reshape(-1, 4, 2)
    if isinstance(where, str):
        return Placed(_polygons(corners, _OTHERS), [], None)
    target = where.crs if crs == SOURCE else crs_text(crs)
    flat = where.project(corners.reshape(-1, 2), target)
    if not np.isfinite(flat).all():
        what = f"parts of the scene lie outside of what {authority_code(target) or target} covers"
        raise SkyEyeError(what, where="--crs", remedy=f"--crs {SOURCE}")
    degrees = is_in_degrees(target)
    geometries = _polygons(flat.reshape(-1, 4, 2), _DEGREES if degrees else _OTHERS)
    if degrees:
        geometries = [_within_180(geometry) for geometry in geometries]
    ground = where.project(corners.reshape(-1, 2), where.ground(size)).reshape(-1, 4, 2)
    return Placed(geometries, [round(float(area), 3) for area in _areas(ground)], target)


def scene_outline(size: tuple[int, int]) -> Feature:
    """The whole scene as a feature."""
    width, height = size
    return Feature("scene", np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=float), {})


def _areas(corners: np.ndarray) -> np.ndarray:
    x, y = corners[..., 0], corners[..., 1]
    return np.abs((np.roll(x, 1, axis=1) * y - x * np.roll(y, 1, axis=1)).sum(axis=1)) / 2


def _polygons(corners: np.ndarray, digits: int) -> list[BaseGeometry]:
    """Exterior rings counterclockwise (RFC 7946), first corner as it was."""
    if not len(corners):
        return []
    x, y = corners[..., 0], corners[..., 1]
    clockwise = (np.roll(x, 1, axis=1) * y - x * np.roll(y, 1, axis=1)).sum(axis=1) < 0
    corners = np.where(clockwise[:, None, None], corners[:, [0, 3, 2, 1]], corners)
    return list(shapely.polygons(np.round(corners, digits) + 0.0))


def _within_180(geometry: BaseGeometry) -> BaseGeometry:
    """A polygon across the 180th meridian is cut there (RFC 7946, 3.1.9)."""
    west, _, east, _ = geometry.bounds
    if east - west <= 180 and west >= -180 and east <= 180:
        return geometry
    around = shapely.transform(geometry, _eastwards)
    eastern = shapely.intersection(around, shapely.box(0, -90, 180, 90))
    western = shapely.intersection(around, shapely.box(180, -90, 540, 90))
    western = shapely.transform(western, lambda points: points - np.array([360, 0]))
    parts = [shapely.orient_polygons(part) for part in (eastern, western) if part.area]
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def _eastwards(points: np.ndarray) -> np.ndarray:
    """Longitudes of 0 to 360 degrees."""
    return np.stack([np.where(points[:, 0] < 0, points[:, 0] + 360, points[:, 0]), points[:, 1]], axis=1)
