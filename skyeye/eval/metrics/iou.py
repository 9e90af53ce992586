"""How well boxes agree, one with one and many with many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from skyeye.data.geometry.boxes import Box, iou
from skyeye.data.record import Record

#: Digits that an IoU keeps: half an overlap is then 0.5, and not above it, in decimal fractions too.
DIGITS = 9


def true_boxes(record: Record) -> list[Box]:
    """``references['boxes']`` cut to the image, which is all an answer can name."""
    return [Box(*box).clipped() for box in record.references["boxes"]]


def overlap(a: Box, b: Box) -> float:
    """IoU of two boxes in fractions of the image."""
    return round(iou(a, b), DIGITS)


def areas(a: Box, b: Box) -> tuple[float, float]:
    """Area of the intersection and of the union of two boxes, in fractions of the image."""
    both = Box(max(a.x1, b.x1), max(a.y1, b.y1), min(a.x2, b.x2), min(a.y2, b.y2)).area
    return both, a.area + b.area - both


def matched_boxes(found: Sequence[Box], truths: Sequence[Box], threshold: float = 0.5) -> int:
    """How many true boxes can be paired with a found box of IoU above ``threshold``, each box used once, at best."""
    if not found or not truths:
        return 0
    close = _overlaps(found, truths) > threshold
    close = close[close.any(axis=1)]  # the matching takes long where thousands of boxes were written
    rows, columns = linear_sum_assignment(close, maximize=True)
    return int(close[rows, columns].sum())


def box_lists(boxes: Iterable[Box]) -> list[list[float]]:
    """Boxes as they stand in prediction files."""
    return [[round(v, 4) for v in box] for box in boxes]


def _overlaps(a: Sequence[Box], b: Sequence[Box]) -> np.ndarray:
    """(len(a), len(b)) of :func:`overlap`."""
    ax1, ay1, ax2, ay2 = (np.array(side)[:, None] for side in zip(*a, strict=True))
    bx1, by1, bx2, by2 = (np.array(side) for side in zip(*b, strict=True))
    both = np.clip(np.minimum(ax2, bx2) - np.maximum(ax1, bx1), 0, None)
    both = both * np.clip(np.minimum(ay2, by2) - np.maximum(ay1, by1), 0, None)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0).round(DIGITS)
