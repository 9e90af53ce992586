"""How many of the windows that show an object whole have found it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from skyeye.serve.scenes.merge import NEAR, Detection, cut_sides
from skyeye.serve.scenes.plan import Tile


def supports(
    found: Sequence[Detection], tiles: Sequence[Tile], answered: Sequence[int], size: tuple[int, int]
) -> list[float]:
    """The share of each object, 0 to 1; of one that no window shows whole, 1.

    A box that one window has and three others, which show the same ground, have not, is more often wrong than right. A
    window at whose border the box ends shows a part of it: a cut box in ground that another window shows, and says
    nothing of, has no support.

    Args:
        tiles, size: of the scene; ``answered``: the numbers of those that were asked.
    """
    shares = [1.0] * len(found)
    for scale in {detection.scale for detection in found}:
        mine = [number for number, detection in enumerate(found) if detection.scale == scale]
        windows = [tiles[index].window for index in answered if tiles[index].scale == scale]
        inner = np.array([_shrunk(found[number]) for number in mine])
        tree = shapely.STRtree(shapely.box(*np.array(windows, dtype=float).T))
        objects, shown = tree.query(shapely.box(*inner.T), predicate="covered_by")
        for place, number in enumerate(mine):
            shown_in = {windows[index] for index in shown[objects == place].tolist()}
            whole = {window for window in shown_in if not cut_sides(found[number].extent, window, size)}
            if whole:
                shares[number] = len(whole & set(found[number].windows)) / len(whole)
    return shares


def _shrunk(detection: Detection) -> tuple[float, float, float, float]:
    """Its extent, less what a model's numbers leave open."""
    left, top, right, bottom = detection.extent
    window = detection.windows[0]
    near = NEAR * max(window[2] - window[0], window[3] - window[1])
    return (
        min(left + near, (left + right) / 2),
        min(top + near, (top + bottom) / 2),
        max(right - near, (left + right) / 2),
        max(bottom - near, (top + bottom) / 2),
    )
