"""In which other form the boxes of answers fit the truth: order of the numbers, scale, corner and size."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from skyeye.data.geometry.boxes import Box
from skyeye.data.record import Record
from skyeye.eval.metrics.iou import overlap, true_boxes
from skyeye.eval.metrics.sizes import sizes

_NUMBER = r"-?\d{1,9}(?:\.\d{1,12})?"
#: Four numbers with nothing but signs between them.
_FOUR = re.compile(r"[\[({<]\s*" + r"[\s,;<>()\[\]]{1,6}".join([f"({_NUMBER})"] * 4))
_Four = tuple[float, float, float, float]
_ORDERS: dict[str, Callable[[_Four], _Four]] = {
    "x1, y1, x2, y2": lambda n: n,
    "y1, x1, y2, x2": lambda n: (n[1], n[0], n[3], n[2]),
    "x, y, width, height": lambda n: (n[0], n[1], n[0] + n[2], n[1] + n[3]),
    "centre x, centre y, width, height": lambda n: (
        n[0] - n[2] / 2,
        n[1] - n[3] / 2,
        n[0] + n[2] / 2,
        n[1] + n[3] / 2,
    ),
}
_SCALES = {"0..1": 1.0, "0..100": 100.0, "0..1000": 1000.0, "0..1024": 1024.0, "pixels": None}
_CORNERS = next(iter(_ORDERS))
#: How a file with corners in that scale is scored.
_OPTIONS = {
    "0..1": "score it with --boxes fractions",
    "0..100": "score it without --boxes, written {<x1><y1><x2><y2>}",
    "0..1000": "score it with --boxes thousandths, written [x1, y1, x2, y2], or qwen",
    "pixels": "score it with --boxes pixels, written [x1, y1, x2, y2]",
}
_LEAST = 30.0  # percent of boxes that must fit in the other form


def other_reading(records: Sequence[Record], texts: Sequence[str], value: float) -> list[str]:
    """The form in which most boxes fit, where it is another one; else what the numbers look like.

    Args:
        records: with ``references["boxes"]``, as many as there are texts.
        value: the share of boxes, in percent, that fit as they are read now.
    """
    read = [(record, _numbers(text)) for record, text in zip(records, texts, strict=True)]
    found = [(record, four) for record, four in read if four is not None]
    if len(found) < len(texts) / 2:
        return [f"{len(found):,} of {len(texts):,} answers hold four numbers in brackets or braces"]
    known = sizes([record for record, _ in found])
    pairs = list(zip(found, known, strict=True))
    shares = {
        (order, scale): 100 * sum(_fits(of, turn(four), size, whole) for (of, four), size in pairs) / len(texts)
        for order, turn in _ORDERS.items()
        for scale, whole in _SCALES.items()
    }
    (order, scale), best = max(shares.items(), key=lambda item: item[1])
    if best < max(_LEAST, 3 * value):
        largest = max(max(four) for _, four in found)
        return [f"the largest number in a box is {largest:g}, where 0..100 are expected"] if largest > 100 else []
    remedy = _OPTIONS.get(scale, "write 0..1000") if order == _CORNERS else f"write {_CORNERS}"
    return [f"boxes look like {order} in {scale} ({best:.0f} % of them would fit): {remedy}"]


def _numbers(text: str) -> _Four | None:
    match = _FOUR.search(text)
    return None if match is None else (float(match[1]), float(match[2]), float(match[3]), float(match[4]))


def _fits(record: Record, four: _Four, size: tuple[float, float] | None, whole: float | None) -> bool:
    if whole is None and size is None:
        return False
    width, height = (whole, whole) if whole is not None else size
    box = Box(four[0] / width, four[1] / height, four[2] / width, four[3] / height)
    return any(overlap(box, truth) > 0.5 for truth in true_boxes(record))
