"""Which way the angles of turned boxes go."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from skyeye.data.geometry.box_text import Size
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import Record
from skyeye.eval.box_frame import Frame, Numbers

_ERRORS = np.array([3.0, 6.0, 12.0, 25.0])  # degrees
_STRAYS = np.array([0.05, 0.2, 0.5])
_LONG = 1.25  # sides of a box whose direction can be told: so many times as long as wide


def turning(frame: Frame, read: Sequence[tuple[Record, Numbers]], known: Sequence[Size | None], decisive: float) -> int:
    """1: angles are clockwise as seen, -1: counter-clockwise, 0: there are none, or it cannot be told.

    The direction of the longer side of each answer is compared with that of the true polygon.
    """
    pairs = []
    for (record, numbers), size in zip(read, known, strict=True):
        polygons = record.references.get("polygons")
        if numbers.angle is None or not polygons:
            continue
        aspect = 1.0 if size is None else size[0] / size[1]
        answered = _direction(frame.read(Numbers(numbers.four), size), aspect)
        true = _direction(OrientedBox(*polygons[0]), aspect)
        if answered is not None and true is not None:
            pairs.append((answered, numbers.angle, true))
    if not pairs:
        return 0
    before, angle, true = np.array(pairs).T
    scores = [_likelihood((before + turn * angle - true + 90) % 180 - 90) for turn in (1, -1, 0)]
    best = int(np.argmax(scores))
    second = sorted(scores)[-2]
    return (1, -1, 0)[best] if scores[best] - second > decisive else 0


def _direction(box: Box | OrientedBox, aspect: float) -> float | None:
    """Degrees, clockwise as seen, from the horizontal to the longer side; None of a box about as long as wide."""
    oriented = box if isinstance(box, OrientedBox) else OrientedBox.from_box(box)
    _, _, width, height, angle = oriented.centre_form(aspect)
    width *= aspect
    if max(width, height) < _LONG * min(width, height):
        return None
    return (angle if width > height else angle + 90) % 180


def _likelihood(wrong: np.ndarray) -> float:
    near = np.exp(-((wrong[:, None] / _ERRORS) ** 2) / 2) / (_ERRORS * math.sqrt(2 * math.pi))
    return float(np.log((1 - _STRAYS) * near[:, :, None] + _STRAYS / 180).sum(axis=0).max())
