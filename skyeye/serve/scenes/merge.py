"""Boxes of overlapping windows become the objects of a scene.

Everything is measured in pixels of the scene. The map is an affine image of them, and such an image changes no ratio of
areas: the overlap of two boxes is the same on the map.

1. A box that ends at the border of its window, where the scene goes on, may be *cut*. Two cut boxes that face each
   other across a seam, both reach through all that their windows share, and agree along the seam, are one object.
2. A cut box that lies in a larger one of another window is a part of it.
3. Of boxes that overlap by ``iou`` the surest stays, whole ones before cut ones. Boxes of two windows of one scale are
   also the same object where the smaller lies in the larger: small boxes are written in coarse numbers.

All of this holds within one question and one label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from skyeye.data.geometry.polygons import Point, rectangle_corners, smallest_rectangle
from skyeye.data.geometry.windows import Window

#: A box that ends so close to a border of its window ends there, in sides of the window: models write whole hundredths.
NEAR = 0.02
#: Two parts of an object agree along the seam by so much (intersection over union of their extents).
AGREEING = 0.5
#: A cut box is a part of one that holds so much of it; across scales of one that is at most so many times as large.
INSIDE, LARGER = 0.7, 8.0
#: Boxes of two windows are the same object where so much of the smaller lies in the larger.
COVERED = 0.75


@dataclass(frozen=True)
class Detection:
    """An object, in pixels of the scene.

    Attributes:
        question: its number.
        label: what it is; ``phrase``: in the words of the answer.
        corners: four, clockwise; of an upright box from the upper left.
        oriented: the box is turned.
        score: of the answer.
        scale: of the windows it was found in.
        windows: that it was found in. Two parts make one detection of two windows.
        cut: sides at which it ends with its window though the scene goes on, of ``left top right bottom``.
    """

    question: int
    label: str
    phrase: str
    corners: tuple[Point, ...]
    oriented: bool
    score: float | None
    scale: float
    windows: tuple[Window, ...]
    cut: frozenset[str] = frozenset()

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        xs, ys = zip(*self.corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


def cut_sides(extent: Sequence[float], window: Window, size: tuple[int, int]) -> frozenset[str]:
    """The sides at which a box ends together with its window, and the scene goes on."""
    left, top, right, bottom = window
    near = NEAR * max(right - left, bottom - top)
    sides = {
        "left": left > 0 and extent[0] <= left + near,
        "top": top > 0 and extent[1] <= top + near,
        "right": right < size[0] and extent[2] >= right - near,
        "bottom": bottom < size[1] and extent[3] >= bottom - near,
    }
    return frozenset(side for side, ends in sides.items() if ends)


def merge(detections: Iterable[Detection], iou: float = 0.5) -> list[Detection]:
    """The objects of a scene, by question and label, then from top to bottom.

    The order of ``detections`` changes nothing.

    Args:
        iou: overlap from which on two boxes are the same object.
    """
    groups: dict[tuple[int, str], list[Detection]] = defaultdict(list)
    for detection in detections:
        groups[detection.question, detection.label].append(detection)
    merged = []
    for _, members in sorted(groups.items()):
        members = _joined(sorted(members, key=_place))
        members = _without_parts(members)
        merged += sorted(_surest(members, iou), key=_place)
    return merged


def _place(detection: Detection) -> tuple:
    return (*detection.extent[1::-1], detection.corners, detection.scale, detection.windows, detection.phrase)


# --- 1. parts across a seam -------------------------------------------------------------------------------------------


def _joined(members: list[Detection]) -> list[Detection]:
    parts = [index for index, detection in enumerate(members) if detection.cut]
    parents = list(range(len(members)))

    def root(index: int) -> int:
        while parents[index] != index:
            index = parents[index]
        return index

    boxes = shapely.box(*np.array([_with_margin(members[index]) for index in parts]).reshape(-1, 4).T)
    for one, other in _pairs(boxes):
        a, b = parts[one], parts[other]
        if _face(members[a], members[b]) or _face(members[b], members[a]):
            parents[root(b)] = root(a)
    together: dict[int, list[Detection]] = defaultdict(list)
    for index, detection in enumerate(members):
        together[root(index)].append(detection)
    return [found[0] if len(found) == 1 else _union(found) for found in together.values()]


def _with_margin(detection: Detection) -> tuple[float, float, float, float]:
    margin = _near(detection)
    left, top, right, bottom = detection.extent
    return left - margin, top - margin, right + margin, bottom + margin


def _near(detection: Detection) -> float:
    left, top, right, bottom = detection.windows[0]
    return NEAR * max(right - left, bottom - top) + 1


def _face(a: Detection, b: Detection) -> bool:
    """Whether ``a`` goes on in ``b``, to the right or below."""
    if a.scale != b.scale:
        return False
    near = max(_near(a), _near(b))
    (one,), (other,) = a.windows, b.windows
    for side, opposite, axis in (("right", "left", 0), ("bottom", "top", 1)):
        if side not in a.cut or opposite not in b.cut or not one[axis] < other[axis] <= one[axis + 2] + 1:
            continue
        through = a.extent[axis] <= other[axis] + near and b.extent[axis + 2] >= one[axis + 2] - near
        if through and _agree(a.extent, b.extent, 1 - axis):
            return True
    return False


def _agree(a: Sequence[float], b: Sequence[float], axis: int) -> bool:
    """Whether two extents are alike along an axis (0: x)."""
    common = min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis])
    return common >= AGREEING * (max(a[axis + 2], b[axis + 2]) - min(a[axis], b[axis]))


def _union(parts: list[Detection]) -> Detection:
    extents = np.array([part.extent for part in parts])
    left, top, right, bottom = *extents[:, :2].min(axis=0).tolist(), *extents[:, 2:].max(axis=0).tolist()
    corners: Sequence[Point] = ((left, top), (right, top), (right, bottom), (left, bottom))
    if oriented := any(part.oriented for part in parts):
        corners = rectangle_corners(*smallest_rectangle([corner for part in parts for corner in part.corners]))
    outermost = zip(("left", "top", "right", "bottom"), (left, top, right, bottom), strict=True)
    cut = {
        side
        for axis, (side, end) in enumerate(outermost)
        for part in parts
        if side in part.cut and part.extent[axis] == end
    }
    first = max(parts, key=_area)
    areas = [_area(part) for part in parts]
    scores = [part.score for part in parts if part.score is not None]
    known = len(scores) == len(parts) and sum(areas) > 0
    score = float(np.average(scores, weights=areas)) if known else None
    seen = tuple(sorted({window for part in parts for window in part.windows}))
    return replace(first, corners=tuple(corners), oriented=oriented, score=score, windows=seen, cut=frozenset(cut))


# --- 2. parts of what another window shows ----------------------------------------------------------------------------


def _without_parts(members: list[Detection]) -> list[Detection]:
    shapes, areas = _shapes(members)
    left_out: dict[int, int] = {}
    pairs = _pairs(shapes)
    common = shapely.area(shapely.intersection(shapes[pairs[:, 0]], shapes[pairs[:, 1]]))
    for (one, other), area in zip(pairs.tolist(), common.tolist(), strict=True):
        part, whole = (one, other) if (areas[one], -one) < (areas[other], -other) else (other, one)
        a, b = members[part], members[whole]
        near_in_size = a.scale == b.scale or areas[whole] <= LARGER * areas[part]
        if a.cut and near_in_size and set(a.windows) != set(b.windows) and area >= INSIDE * areas[part]:
            left_out[part] = whole
    return [
        replace(detection, windows=_seen(members, left_out, index))
        for index, detection in enumerate(members)
        if index not in left_out
    ]


def _seen(members: list[Detection], left_out: dict[int, int], whole: int) -> tuple[Window, ...]:
    parts = [members[part] for part, other in left_out.items() if other == whole]
    return tuple(sorted({window for each in (members[whole], *parts) for window in each.windows}))


# --- 3. the same object twice -----------------------------------------------------------------------------------------


def _surest(members: list[Detection], iou: float) -> list[Detection]:
    shapes, areas = _shapes(members)
    pairs = _pairs(shapes)
    common = shapely.area(shapely.intersection(shapes[pairs[:, 0]], shapes[pairs[:, 1]]))
    alike: dict[int, list[int]] = defaultdict(list)
    for (one, other), area in zip(pairs.tolist(), common.tolist(), strict=True):
        a, b = members[one], members[other]
        union = areas[one] + areas[other] - area
        views = a.scale == b.scale and not set(a.windows) & set(b.windows)
        if area >= iou * union or (views and area >= COVERED * min(areas[one], areas[other])):
            alike[one].append(other)
            alike[other].append(one)
    order = sorted(range(len(members)), key=lambda index: _rank(members[index]))
    kept: list[Detection] = []
    gone: set[int] = set()
    for index in order:
        if index in gone:
            continue
        same = [other for other in alike[index] if other not in gone]
        gone.update([index, *same])
        seen = {window for each in (index, *same) for window in members[each].windows}
        kept.append(replace(members[index], windows=tuple(sorted(seen))))
    return kept


def _rank(detection: Detection) -> tuple[bool, float, float]:
    """Whole ones first, then the surest, then those of the smallest windows, whose numbers are finest."""
    return bool(detection.cut), -(detection.score or 0.0), detection.scale


def _shapes(members: Sequence[Detection]) -> tuple[np.ndarray, list[float]]:
    shapes = shapely.polygons(np.array([detection.corners for detection in members], dtype=float).reshape(-1, 4, 2))
    return shapes, [_area(detection) for detection in members]


def _area(detection: Detection) -> float:
    xs, ys = zip(*detection.corners, strict=True)
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2


def _pairs(shapes: np.ndarray) -> np.ndarray:
    """(n, 2) indices of shapes that meet, each pair once, in order."""
    if len(shapes) < 2:
        return np.zeros((0, 2), int)
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = np.stack([first, second], axis=1)[first < second]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
