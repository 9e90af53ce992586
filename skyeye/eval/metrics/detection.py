"""Detection from text as mean average precision: the boxes that answers name for a class, against all of its objects.

Three protocols. Of Pascal VOC, which the development kit of DOTA follows: all boxes of a class in the order of their
scores, each is compared with the object of its image that it overlaps most, and is right above the threshold if nothing
was found there before; what was found twice is wrong, what is marked difficult is neither. Precision is integrated over
recall, at eleven points (VOC 2007, DOTA) or exactly (VOC 2010 on). Of COCO: in each image at most 100 boxes, each takes
the free object that it overlaps most, at ten thresholds from 0.50 to 0.95, and precision is read at 101 recalls.

A language model's text gives no scores by itself. Where the answers bring some (the certainty of a box's tokens, which
our own engine tells), these order the boxes, and boxes of the same score keep the order of the images, as in
pycocotools. Else all boxes are alike and the curve is one point: precision P and recall R of all boxes, integrated like
any other (P x R by the exact rule), and the order in which boxes happen to be listed does not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import Record
from skyeye.eval.metrics.base import Scores, Statistic
from skyeye.eval.metrics.oriented import answered_polygon, polygon, polygon_overlap, upright
from skyeye.eval.results import Answer

Protocol = Literal["voc07", "voc", "coco"]
COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * n, 2) for n in range(10))
COCO_MOST = 100
_RECALLS = {"voc07": np.linspace(0, 1, 11), "coco": np.linspace(0, 1, 101)}


@dataclass
class ClassBoxes:
    """What was said of one class and what is true.

    Attributes:
        overlaps: for each image the IoU of each box with each object, (boxes, objects).
        scores: for each image those of its boxes; None: all alike.
        difficult: for each image which objects are neither right nor wrong.
    """

    overlaps: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray | None] = field(default_factory=list)
    difficult: list[np.ndarray] = field(default_factory=list)

    @property
    def objects(self) -> int:
        """Objects that count."""
        return sum(int((~marked).sum()) for marked in self.difficult)


def detection(
    records: Sequence[Record], answers: Sequence[Answer], *, oriented: bool = False, protocol: Protocol = "voc07"
) -> Scores:
    """Records of an image and a class each (``references``: ``class``, ``boxes``, ``polygons``, ``difficult``).

    ``mAP`` is at 0.5 by ``protocol``, over the classes that occur; ``mAP (VOC 2007)``, ``mAP (VOC)``, ``AP (COCO)`` and
    ``AP50 (COCO)`` say the same answers by every protocol, and ``mAP/CLASS`` each class. None of them is a sum over
    items, so none has an interval.

    Args:
        oriented: compare polygons, instead of the upright boxes around them.
    """
    named = [answer for answer in answers if answer.boxes]
    unscored = sum(answer.scores is None or len(answer.scores) != len(answer.boxes or ()) for answer in named)
    scored = bool(named) and not unscored
    of = _by_class(records, answers, oriented, scored)
    tables = {name: _precisions(boxes) for name, boxes in of.items() if boxes.objects}
    items = len(records)
    every = {
        "mAP (VOC 2007)": [t["voc07"] for t in tables.values()],
        "mAP (VOC)": [t["voc"] for t in tables.values()],
        "AP (COCO)": [t["coco"] for t in tables.values()],
        "AP50 (COCO)": [t["coco50"] for t in tables.values()],
    }
    statistics = {"mAP": _constant([t[protocol] for t in tables.values()], items)}
    statistics |= {name: _constant(values, items) for name, values in every.items()}
    statistics |= {f"mAP/{name}": _constant([table[protocol]], items) for name, table in sorted(tables.items())}
    said = "token certainty" if scored else "none: all boxes of a class are alike"
    notes = [f"scores of boxes: {said}; {'polygons' if oriented else 'upright boxes'}; mAP by {protocol}"]
    if 0 < unscored < len(named):
        notes.append(f"{unscored} of {len(named)} answers with boxes bring no score for each of them: none is used")
    found = [[upright(box) for box in answer.boxes or ()] for answer in answers]
    rows: list[dict[str, Any]] = [
        {"truth": record.references["boxes"], "correct": None, "class": record.references["class"], "found": len(own)}
        for record, own in zip(records, found, strict=True)
    ]
    counts = {name: boxes.objects for name, boxes in sorted(of.items())}
    counts |= {"true boxes": sum(boxes.objects for boxes in of.values()), "found boxes": sum(map(len, found))}
    return Scores(statistics, rows, counts, notes)


def _by_class(
    records: Sequence[Record], answers: Sequence[Answer], oriented: bool, scored: bool
) -> dict[str, ClassBoxes]:
    of: dict[str, ClassBoxes] = defaultdict(ClassBoxes)
    for record, answer in zip(records, answers, strict=True):
        hard = record.references["difficult"]
        sure, unsure = record.references["boxes"], hard["boxes"]
        said = answer.boxes or ()
        if oriented:
            overlaps = _polygon_overlaps(said, [*record.references["polygons"], *hard["polygons"]])
        else:
            overlaps = upright_overlaps([upright(box) for box in said], [Box(*box) for box in (*sure, *unsure)])
        own = of[record.references["class"]]
        own.overlaps.append(overlaps)
        own.scores.append(np.array(answer.scores or (), float) if scored else None)
        own.difficult.append(np.array([False] * len(sure) + [True] * len(unsure), bool))
    return dict(of)


def _precisions(boxes: ClassBoxes) -> dict[str, float]:
    return {
        "voc07": average_precision(boxes, "voc07"),
        "voc": average_precision(boxes, "voc"),
        "coco": float(np.mean([average_precision(boxes, "coco", t) for t in COCO_THRESHOLDS])),
        "coco50": average_precision(boxes, "coco", 0.5),
    }


def average_precision(boxes: ClassBoxes, protocol: Protocol, threshold: float = 0.5) -> float:
    """The average precision of one class, 0 to 1; nan where it has no object that counts."""
    if not boxes.objects:
        return float("nan")
    match = _coco_matches if protocol == "coco" else _voc_matches
    alike = all(one is None for one in boxes.scores)
    right, wrong, scores = [], [], []
    for overlaps, own, difficult in zip(boxes.overlaps, boxes.scores, boxes.difficult, strict=True):
        given = np.ones(len(overlaps)) if own is None else own
        order = np.argsort(-given, kind="stable")
        if protocol == "coco":
            order = order[:COCO_MOST]
        hit, counted = match(overlaps[order], difficult, threshold)
        right.append(hit & counted)
        wrong.append(~hit & counted)
        scores.append(given[order])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.cumsum(np.concatenate(right)[order])
    misses = np.cumsum(np.concatenate(wrong)[order])
    if alike:  # one point
        hits, misses = hits[-1:], misses[-1:]
    recall = hits / boxes.objects
    precision = hits / np.maximum(hits + misses, np.finfo(float).eps)
    return _integrated(recall, precision, protocol)


def _integrated(recall: np.ndarray, precision: np.ndarray, protocol: Protocol) -> float:
    """The area below the precision that is reached at a recall or beyond."""
    if not len(recall):
        return 0.0
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if protocol == "voc":
        steps = np.diff(np.concatenate([[0.0], recall]))
        return float((steps * best).sum())
    at = np.searchsorted(recall, _RECALLS[protocol], side="left")
    return float(np.append(best, 0.0)[np.minimum(at, len(best))].mean())


def _voc_matches(overlaps: np.ndarray, difficult: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """For each box of an image, best first, whether it is right, and whether it counts."""
    hit, counted = np.zeros(len(overlaps), bool), np.ones(len(overlaps), bool)
    taken: set[int] = set()
    for number, row in enumerate(overlaps):
        best = int(row.argmax()) if len(row) else -1
        if best < 0 or not row[best] > threshold:
            continue
        if difficult[best]:
            counted[number] = False
        elif best not in taken:
            taken.add(best)
            hit[number] = True
    return hit, counted


def _coco_matches(overlaps: np.ndarray, difficult: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`_voc_matches`, by COCO's rule: the best free object; one that is marked only where no other fits, and
    several boxes may fall on it (COCO's crowds)."""
    hit, counted = np.zeros(len(overlaps), bool), np.ones(len(overlaps), bool)
    free = np.ones(overlaps.shape[1], bool)
    least = min(threshold, 1 - 1e-10)
    for number, row in enumerate(overlaps):
        fits = free & (row >= least)
        sure = np.flatnonzero(fits & ~difficult)
        if len(sure):
            best = sure[len(sure) - 1 - int(row[sure][::-1].argmax())]  # of equal ones the last
            hit[number], free[best] = True, False
        elif fits.any():
            counted[number] = False
    return hit, counted


def upright_overlaps(boxes: Sequence[Box], objects: Sequence[Box]) -> np.ndarray:
    """(boxes, objects) IoU of upright boxes."""
    a, b = (np.array([tuple(box) for box in many], float).reshape(-1, 4) for many in (boxes, objects))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [np.clip(many[:, 2:] - many[:, :2], 0, None).prod(axis=-1) for many in (a, b)]
    union = areas[0][:, None] + areas[1][None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def _polygon_overlaps(boxes: Sequence[Box | OrientedBox], objects: Sequence[Sequence[float]]) -> np.ndarray:
    said, true = [answered_polygon(box) for box in boxes], [polygon(corners)[0] for corners in objects]
    return np.array([[polygon_overlap(a, b) for b in true] for a in said], float).reshape(len(said), len(true))


def _constant(values: Sequence[float], items: int) -> Statistic:
    """The mean of some numbers in percent, which no drawing of images changes: it has no interval."""
    number = 100 * float(np.mean(values)) if len(values) else float("nan")
    return Statistic(np.zeros((items, 1)), partial(_same_everywhere, number))


def _same_everywhere(number: float, sums: np.ndarray) -> np.ndarray:
    return np.full(sums.shape[:-1], number)
