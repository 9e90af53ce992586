"""A layer held against the truth: which of its objects are there, and which are missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from skyeye.data.formats.base.vector_layer import VectorLayer, read_layer
from skyeye.data.formats.detection.base import plural
from skyeye.data.images.georeference import WGS84, transformed
from skyeye.errors import SkyEyeError


@dataclass(frozen=True)
class Agreement:
    """Objects of one label, or of all.

    Attributes:
        found: in the layer; ``true``: in the truth; ``both``: pairs.
    """

    found: int
    true: int
    both: int

    @property
    def recall(self) -> float:
        """Share of the truth that was found; 1 where there is none."""
        return self.both / self.true if self.true else 1.0

    @property
    def precision(self) -> float:
        """Share of what was found that is true; 1 where nothing was found."""
        return self.both / self.found if self.found else 1.0


def compare_layers(found: Path, truth: Path, iou: float = 0.5, column: str = "label") -> dict[str, Agreement]:
    """Pair the objects of two layers, the surest first, each with the free one of its label that it overlaps most.

    A label fits its plural, too (``plane``, ``planes``). Features of a layer of ours that are tiles are left out.

    Args:
        iou: least overlap of a pair.
        column: of the label in both.

    Returns:
        By label of the truth, and ``all``.

    Raises:
        SkyEyeError: a layer cannot be read or has no such column.
    """
    ours, theirs = _layer(found, "objects"), _layer(truth, None)
    ground = _ground(theirs)
    shapes, true = (_on_ground(layer, ground) for layer in (ours, theirs))
    labels = [str(_column(ours, column)[row]) for row in ours.rows]
    kinds = [str(_column(theirs, column)[row]) for row in theirs.rows]
    tiles = ours.columns.get("kind", ["object"] * len(labels))
    scores = ours.columns.get("score", [0.0] * len(labels))
    mine = [index for index, row in enumerate(ours.rows) if tiles[row] != "tile"]
    mine.sort(key=lambda index: -float(scores[ours.rows[index]] or 0.0))
    tree = shapely.STRtree(true)
    free, both = set(range(len(true))), Counter[str]()
    for index in mine:
        near = [
            other
            for other in tree.query(shapes[index]).tolist()
            if other in free and _fits(labels[index], kinds[other])
        ]
        overlaps = [(_iou(shapes[index], true[other]), -other) for other in near]
        best = max(overlaps, default=(0.0, 0))
        if best[0] >= iou:
            free.discard(-best[1])
            both[kinds[-best[1]]] += 1
    names = sorted(set(kinds))
    told = Counter(next((name for name in names if _fits(labels[index], name)), labels[index]) for index in mine)
    result = {name: Agreement(told[name], kinds.count(name), both[name]) for name in names}
    return result | {"all": Agreement(len(mine), len(kinds), both.total())}


def format_text(result: dict[str, Agreement]) -> str:
    """A line for each label."""
    return "\n".join(
        f"{name}: recall {each.recall:.3f}, precision {each.precision:.3f} ({each.both} of {each.true} there, "
        f"{each.found} found)"
        for name, each in result.items()
    )


def _layer(path: Path, usual: str | None) -> VectorLayer:
    try:
        return read_layer(path)
    except SkyEyeError as error:
        if usual is None or "layers" not in error.what:
            raise
        return read_layer(path, usual)


def _column(layer: VectorLayer, column: str) -> list[object]:
    if column not in layer.columns:
        known = ", ".join(layer.columns) or "none"
        raise SkyEyeError(f"has no column {column!r}", where=str(layer.path), remedy=f"--column, one of: {known}")
    return layer.columns[column]


def _ground(layer: VectorLayer) -> str:
    """An equal-area system around a layer."""
    if not layer.polygons:
        raise SkyEyeError("holds no polygon", where=str(layer.path), remedy="give the layer with the true objects")
    west, south, east, north = shapely.total_bounds(np.array(layer.polygons))
    ((x, y),) = transformed(np.array([[(west + east) / 2, (south + north) / 2]]), layer.crs, WGS84)
    return f"+proj=laea +lat_0={y:.9f} +lon_0={x:.9f} +datum=WGS84 +units=m"


def _on_ground(layer: VectorLayer, ground: str) -> np.ndarray:
    polygons = np.array(layer.polygons, dtype=object)
    return shapely.make_valid(shapely.transform(polygons, lambda points: transformed(points, layer.crs, ground)))


def _fits(label: str, kind: str) -> bool:
    label, kind = label.lower(), kind.lower()
    return label in (kind, plural(kind))


def _iou(a: shapely.Geometry, b: shapely.Geometry) -> float:
    common = a.intersection(b).area
    union = a.area + b.area - common
    return common / union if union > 0 else 0.0
