"""Layers that other programs open: GeoJSON, GeoPackage, CSV, COCO, a picture, a page. The same findings give the same
bytes."""

from __future__ import annotations

import csv
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from skyeye.data.files import cannot_be_written, whole_file, write_whole
from skyeye.data.images.georeference import WGS84, authority_code, name_of
from skyeye.errors import SkyEyeError
from skyeye.serve.scenes.findings import Feature, Findings
from skyeye.serve.scenes.page import write_page
from skyeye.serve.scenes.picture import write_picture
from skyeye.serve.scenes.place import Placed, place
from skyeye.serve.scenes.summary import summary_of

#: Ending of a file -> what is written.
KINDS = {
    ".geojson": "geojson",
    ".gpkg": "gpkg",
    ".csv": "csv",
    ".coco.json": "coco",
    ".png": "picture",
    ".jpg": "picture",
    ".html": "page",
    ".json": "summary",
}


@dataclass(frozen=True)
class Layer:
    """A file to write.

    Attributes:
        path: its ending says what it is (:data:`KINDS`).
        crs: of its geometries; see :func:`skyeye.serve.scenes.place.place`.
    """

    path: Path
    crs: str = WGS84

    @property
    def kind(self) -> str:
        """What is written.

        Raises:
            SkyEyeError: the ending is none of :data:`KINDS`.
        """
        name = self.path.name.lower()
        found = next((kind for ending, kind in KINDS.items() if name.endswith(ending)), None)
        if found is None:
            raise SkyEyeError("its ending says nothing", where=str(self.path), remedy=f"known: {', '.join(KINDS)}")
        return found


def write_layers(found: Findings, layers: Sequence[Layer]) -> None:
    """Write every layer whole or not at all.

    Raises:
        SkyEyeError: a file cannot be written, or cannot hold what is asked of it.
    """
    writers: dict[str, Callable[[Findings, Layer], None]] = {
        "geojson": _geojson,
        "gpkg": _gpkg,
        "csv": _csv,
        "coco": _coco,
        "picture": lambda findings, layer: write_picture(findings, layer.path),
        "page": lambda findings, layer: write_page(findings, layer.path),
        "summary": lambda findings, layer: write_whole(layer.path, json.dumps(summary_of(findings), indent=1) + "\n"),
    }
    for layer in layers:
        writers[layer.kind](found, layer)


def _rows(found: Findings, placed: Placed) -> Iterator[tuple[Feature, BaseGeometry, dict[str, Any]]]:
    """Every feature with its geometry and its properties."""
    areas = placed.areas or [None] * len(placed.geometries)
    for feature, geometry, area in zip(found.features, placed.geometries, areas, strict=True):
        yield feature, geometry, feature.properties | {"area_m2": area}


def _geojson(found: Findings, layer: Layer) -> None:
    placed = place(found.features, found.scene.place, found.scene.size, layer.crs)
    head: dict[str, Any] = {"type": "FeatureCollection", "name": layer.path.stem}
    if placed.crs is None:
        head["coordinates"] = f"columns and rows of the scene, rows downwards: {found.scene.place}"
    elif authority_code(placed.crs) != WGS84:
        head["crs"] = {"type": "name", "properties": {"name": _urn(placed.crs, layer)}}
    features = (
        {
            "type": "Feature",
            "geometry": {"type": geometry.geom_type, "coordinates": shapely.geometry.mapping(geometry)["coordinates"]},
            "properties": {"kind": feature.kind, **properties},
        }
        for feature, geometry, properties in _rows(found, placed)
    )
    opening = json.dumps(head, ensure_ascii=False)[:-1] + ', "features": [\n'
    write_whole(layer.path, _listed(opening, features, "\n]}\n"))


def _listed(opening: str, items: Iterator[dict[str, Any]], closing: str) -> Iterator[str]:
    yield opening
    for number, item in enumerate(items):
        yield (",\n" if number else "") + json.dumps(item, ensure_ascii=False)
    yield closing


def _urn(crs: str, layer: Layer) -> str:
    code = authority_code(crs)
    if code is None:
        what = f"GeoJSON cannot name the coordinate system {name_of(crs)}, which has no code"
        raise SkyEyeError(what, where=str(layer.path), remedy="write a .gpkg, or leave out --crs")
    authority, number = code.split(":")
    return f"urn:ogc:def:crs:{authority}::{number}"


def _gpkg(found: Findings, layer: Layer) -> None:
    try:
        import pyogrio
    except ImportError as error:
        raise SkyEyeError("GeoPackage needs pyogrio", remedy="pip install skyeye[geo]") from error
    placed = place(found.features, found.scene.place, found.scene.size, layer.crs)
    rows = list(_rows(found, placed))
    layer.path.parent.mkdir(parents=True, exist_ok=True)
    draft = layer.path.with_name(f".{layer.path.stem}.{os.getpid()}.gpkg")
    draft.unlink(missing_ok=True)
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2000-01-01T00:00:00.000Z"})  # else each writing differs
    try:
        for kind, name in (("object", "objects"), ("tile", "tiles")):
            mine = [(geometry, properties) for feature, geometry, properties in rows if feature.kind == kind]
            if mine or kind == "object":
                _gpkg_layer(draft, name, mine, placed.crs)
        os.replace(draft, layer.path)
    except (OSError, pyogrio.errors.DataSourceError) as error:
        raise cannot_be_written(error, layer.path) from error
    finally:
        draft.unlink(missing_ok=True)
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _gpkg_layer(path: Path, name: str, rows: list[tuple[BaseGeometry, dict[str, Any]]], crs: str | None) -> None:
    import pyogrio

    geometries = shapely.multipolygons([shapely.get_parts(geometry) for geometry, _ in rows]) if rows else []
    fields = list(rows[0][1]) if rows else ["label", "score"]
    columns, masks = [], []
    for field in fields:
        values = [properties[field] for _, properties in rows]
        missing = np.array([value is None for value in values], dtype=bool)
        kind = next((type(value) for value in values if value is not None), str)
        filler = kind()
        column = [filler if value is None else value for value in values]
        columns.append(np.array(column, dtype=object if kind is str else kind))
        masks.append(missing)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # columns and rows have none
        pyogrio.raw.write(
            path,
            geometry=np.array(shapely.to_wkb(geometries), dtype=object),
            field_data=columns,
            field_mask=masks,
            fields=fields,
            geometry_type="MultiPolygon",
            crs=crs,
            driver="GPKG",
            layer=name,
            append=path.exists(),
        )


def _csv(found: Findings, layer: Layer) -> None:
    placed = place(found.features, found.scene.place, found.scene.size, layer.crs)
    rows = list(_rows(found, placed))
    names = list(dict.fromkeys(name for _, _, properties in rows for name in properties))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["kind", *names, "x", "y", "wkt"], lineterminator="\n")
    writer.writeheader()
    for feature, geometry, properties in rows:
        middle = geometry.centroid
        where = {"x": f"{middle.x:.8f}", "y": f"{middle.y:.8f}", "wkt": shapely.to_wkt(geometry, rounding_precision=8)}
        writer.writerow({"kind": feature.kind, **properties, **where})
    write_whole(layer.path, text.getvalue())


def _coco(found: Findings, layer: Layer) -> None:
    objects = found.of_kind("object")
    labels = sorted({feature.properties["label"] for feature in objects})
    width, height = found.scene.size
    annotations = []
    for number, feature in enumerate(objects, start=1):
        known = feature.properties
        box = [known[name] for name in ("column", "row", "width", "height")]
        outline = [round(float(value), 2) for corner in feature.corners for value in corner]
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": labels.index(known["label"]) + 1,
                "bbox": box,
                "area": round(box[2] * box[3], 2),
                "segmentation": [outline],
                "iscrowd": 0,
                "score": known["score"],
            }
        )
    content = {
        "images": [{"id": 1, "file_name": Path(found.path).name, "width": width, "height": height}],
        "annotations": annotations,
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, start=1)],
    }
    with whole_file(layer.path) as file:
        file.write((json.dumps(content, ensure_ascii=False) + "\n").encode())
