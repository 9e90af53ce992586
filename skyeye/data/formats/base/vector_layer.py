"""Polygons of a map layer (GeoJSON, GeoPackage, shapefile, FlatGeobuf) with the columns of their table."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.noted import note
from skyeye.data.formats.base.problems import Problem, suggest
from skyeye.data.images.georeference import crs_text
from skyeye.errors import SkyEyeError

#: Formats that hold their own geometries: others would lead GDAL to further files and addresses.
SUFFIXES = (".geojson", ".json", ".gpkg", ".shp", ".fgb")
_BESIDE = (".dbf", ".shx", ".prj", ".cpg")


@dataclass(frozen=True)
class VectorLayer:
    """The polygons of a layer.

    Attributes:
        crs: of their coordinates.
        polygons: one part each; ``rows``: the row of the table that each belongs to; ``where``: for messages.
        columns: values by name, one for each row.
        problems: rows without a polygon.
        path: the file.
    """

    crs: str
    polygons: list[BaseGeometry]
    rows: list[int]
    where: list[str]
    columns: dict[str, list[Any]]
    problems: list[Problem]
    path: Path


def layer_files(path: Path) -> list[Path]:
    """The layer that a path names, or those below it.

    Raises:
        SkyEyeError: there is none.
    """
    if not path.is_dir():
        return [path]
    return annotation_files(path, *(f"**/*{suffix}" for suffix in SUFFIXES))


def read_layer(path: Path, layer: str | None = None, crs: str | None = None) -> VectorLayer:
    """Read a layer.

    Args:
        layer: its name, in a file that holds several.
        crs: coordinate system of a file that states none.

    Raises:
        SkyEyeError: unreadable, of another kind, several layers and none is named, or no coordinate system.
    """
    try:
        import pyogrio
    except ImportError as error:
        raise SkyEyeError("layers are read by pyogrio", where=str(path), remedy="pip install skyeye[geo]") from error
    if path.suffix.lower() not in SUFFIXES:
        remedy = f"give one of {', '.join(SUFFIXES)}"
        raise SkyEyeError("is no layer that is read here", where=str(path), remedy=remedy)
    for each in (path, *(path.with_suffix(suffix) for suffix in _BESIDE)):
        if each.is_file():
            note("file", each)
    try:
        chosen = _layer_name(path, [str(name) for name, _ in pyogrio.list_layers(path)], layer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of measured geometries and the like; what is lost is told below
            meta, _, geometries, values = pyogrio.raw.read(path, layer=chosen, force_2d=True)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError, RuntimeError) as error:
        what = f"is no layer that GDAL can read: {' '.join(str(error).split())[:120]}"
        raise SkyEyeError(what, where=str(path), remedy="fetch the file again") from error
    stated = meta["crs"] or crs
    if stated is None:
        what = "states no coordinate system (a shapefile without its .prj?)"
        raise SkyEyeError(what, where=str(path), remedy="give the option crs, e.g. crs: EPSG:32633")
    columns = {str(name): list(column) for name, column in zip(meta["fields"], values, strict=True)}
    polygons, rows, problems = _polygons(path, geometries)
    often = Counter(rows)
    parts = [f", part {index - rows.index(row)}" if often[row] > 1 else "" for index, row in enumerate(rows)]
    where = [f"{path}, feature {row}{part}" for row, part in zip(rows, parts, strict=True)]
    return VectorLayer(crs_text(str(stated)), polygons, rows, where, columns, problems, path)


def _layer_name(path: Path, names: list[str], wanted: str | None) -> str | None:
    if wanted is not None and wanted not in names:
        raise SkyEyeError(f"has no layer {wanted!r}", where=str(path), remedy=suggest(wanted, names))
    if wanted is None and len(names) > 1:
        what = f"holds {len(names)} layers"
        raise SkyEyeError(what, where=str(path), remedy=f"give the option layer, one of {', '.join(names[:8])}")
    return wanted


def _polygons(path: Path, geometries: np.ndarray) -> tuple[list[BaseGeometry], list[int], list[Problem]]:
    polygons: list[BaseGeometry] = []
    rows: list[int] = []
    problems: list[Problem] = []
    for row, written in enumerate(geometries):
        parts = list(_parts(None if written is None else shapely.from_wkb(written, on_invalid="ignore")))
        sound = [part for part in parts if part.geom_type == "Polygon" and part.area > 0]
        polygons += sound
        rows += [row] * len(sound)
        if not sound:
            kinds = sorted({part.geom_type for part in parts}) or ["empty"]
            what = "the polygon has no area" if kinds == ["Polygon"] else f"the geometry is no polygon: {kinds[0]}"
            problems.append(Problem("not a polygon", f"{path}, feature {row}", what))
    return polygons, rows, problems


def _parts(geometry: BaseGeometry | None) -> Iterator[BaseGeometry]:
    """The simple geometries of a collection, at whatever depth."""
    if geometry is None or geometry.is_empty:
        return
    if hasattr(geometry, "geoms"):
        for part in geometry.geoms:
            yield from _parts(part)
    else:
        yield geometry
