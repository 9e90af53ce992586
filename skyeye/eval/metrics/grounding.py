"""Grounding: boxes named by words, one (``refer``) or all (``phrase_grounding``)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from skyeye.data.geometry.box_text import Size
from skyeye.data.geometry.boxes import Box, OrientedBox, iou
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.metrics.base import Scores, Statistic, by_label, percent, ratio
from skyeye.eval.metrics.iou import DIGITS, areas, box_lists, matched_boxes, overlap, true_boxes
from skyeye.eval.metrics.oriented import answered_polygon, polygon, polygon_overlap, upright
from skyeye.eval.metrics.sizes import sizes
from skyeye.eval.metrics.vqa import question_type
from skyeye.eval.results import Answer

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
PLUS_ONE = "accuracy@0.5 (+1)"
PLUS_ONE_IN_FRACTIONS = "accuracy@0.5 (+1 on 0..1)"
_ANGLE = re.compile(r"\|[\s<unk>]*-?\d+[\s<unk>]*\}")  # behind the four numbers of a box


def refer(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """The first box of the answer against ``references['boxes']`` (one box; the best of several).

    A hit is an IoU strictly above the threshold; an answer without a well-formed box counts as IoU 0. All items are in
    the divisor. IoU is computed on fractions of the image. ``cumulative_iou`` divides all intersections by all unions.

    ``accuracy@0.5 (+1)`` is the reference's: on pixels, with 1 added to every side, truths not cut to the image. It is
    left out where sizes of images are not known. ``accuracy@0.5 (+1 on 0..1)`` adds 1 to sides in fractions, the slip
    of a published script: no accuracy, but what explains some tables (docs/grounding_scores.md). ``oriented_*``:
    polygons against ``references['polygons']``, over the records that have them; the answer's polygon is GeoChat's
    turned box, or its upright box.
    ``any_object@0.5``: the box fits some object of ``record.regions``, the named one or not; it tells a model that
    finds objects but does not listen from one that finds nothing.
    """
    known = sizes(records)
    read = [boxes[:1] for boxes in _boxes_of(answers)]
    notes = _angle_note(answers, read, known)
    found = [[upright(box) for box in boxes] for boxes in read]
    best = [_best(boxes, true_boxes(record)) for record, boxes in zip(records, found, strict=True)]
    overlaps = [value for value, _, _ in best]
    hits = [value > 0.5 for value in overlaps]
    labels = [question_type(record) for record in records]
    statistics = {f"accuracy@{t}": percent([value > t for value in overlaps]) for t in THRESHOLDS}
    statistics["mean_iou"] = percent(overlaps)
    rows = np.array([(both, union) for _, both, union in best], float).reshape(-1, 2)
    statistics["cumulative_iou"] = Statistic(rows, lambda sums: 100 * ratio(sums[..., 0], sums[..., 1]))
    by_type, counts = by_label("accuracy@0.5", labels, hits)
    counts["answers without a box"] = sum(not boxes for boxes in found)
    items = [
        {"truth": box_lists(true_boxes(record)), "correct": hit, "iou": round(value, 4), "type": label}
        for record, hit, value, label in zip(records, hits, overlaps, labels, strict=True)
    ]
    scores = Scores(statistics, items, counts, notes)
    _add_plus_one(scores, records, found, known)
    slips = [
        max(
            (iou(box, Box(*truth), plus_one=True) for box in boxes for truth in record.references["boxes"]), default=0.0
        )
        for record, boxes in zip(records, found, strict=True)
    ]
    statistics[PLUS_ONE_IN_FRACTIONS] = percent([round(value, DIGITS) > 0.5 for value in slips])
    if any("polygons" in record.references for record in records):
        _add_oriented(scores, records, read)
    statistics |= by_type
    if records and all(record.regions for record in records):
        statistics["any_object@0.5"] = percent([_fits_an_object(r, x) for r, x in zip(records, found, strict=True)])
    return scores


def _boxes_of(answers: Sequence[Answer]) -> list[tuple[Box | OrientedBox, ...]]:
    """
    Raises:
        SkyEyeError: an answer was given as text and nobody has read the boxes in it.
    """
    for answer in answers:
        if answer.boxes is None and answer.text:
            raise SkyEyeError(
                "boxes are scored, but those in the text of an answer were not read",
                where=answer.text[:80],
                remedy='the benchmark needs output="boxes"',
            )
    return [answer.boxes or () for answer in answers]


def _best(boxes: Sequence[Box], truths: Sequence[Box]) -> tuple[float, float, float]:
    """IoU, intersection and union with the truth that fits best; without a box, nothing of the first truth."""
    pairs = [(overlap(box, truth), *areas(box, truth)) for box in boxes for truth in truths]
    return max(pairs, key=lambda pair: pair[0], default=(0.0, 0.0, sum(truth.area for truth in truths[:1])))


def _add_plus_one(
    scores: Scores, records: Sequence[Record], found: Sequence[Sequence[Box]], known: Sequence[Size | None]
) -> None:
    sized = [size for size in known if size is not None]
    unknown = len(known) - len(sized)
    if unknown:
        scores.notes.append(
            f"{PLUS_ONE} is left out: it counts pixels, and the size of the image is not known for {unknown} of "
            f"{len(records)} records"
        )
        return
    overlaps = [
        max((_plus_one(box, Box(*t), size) for box in boxes for t in record.references["boxes"]), default=0.0)
        for record, boxes, size in zip(records, found, sized, strict=True)
    ]
    scores.statistics[PLUS_ONE] = percent([value > 0.5 for value in overlaps])


def _plus_one(a: Box, b: Box, size: Size) -> float:
    return round(iou(a.to_pixels(*size), b.to_pixels(*size), plus_one=True), DIGITS)


def _add_oriented(scores: Scores, records: Sequence[Record], read: Sequence[Sequence[Box | OrientedBox]]) -> None:
    asked, overlaps, repaired = [], [], 0
    for record, boxes, item in zip(records, read, scores.items, strict=True):
        corners = record.references.get("polygons")
        truths = [polygon(four) for four in corners or ()]
        value = max((polygon_overlap(answered_polygon(box), t) for box in boxes for t, _ in truths), default=0.0)
        asked.append(corners is not None)
        overlaps.append(value)
        repaired += sum(not sound for _, sound in truths)
        if corners is not None:
            item |= {"polygons": [[round(v, 4) for v in four] for four in corners], "oriented_iou": round(value, 4)}
    scores.statistics["oriented_accuracy@0.5"] = percent([value > 0.5 for value in overlaps], asked)
    scores.statistics["oriented_mean_iou"] = percent(overlaps, asked)
    scores.counts |= {
        "records with a true polygon": sum(asked),
        "true polygons whose corners cross": repaired,
        "answers with an angle": sum(isinstance(box, OrientedBox) for boxes in read for box in boxes),
    }


def _angle_note(
    answers: Sequence[Answer], read: Sequence[Sequence[Box | OrientedBox]], known: Sequence[Size | None]
) -> list[str]:
    turned = [  # boxes with eight numbers need no size
        bool(_ANGLE.search(answer.text)) and any(isinstance(box, OrientedBox) for box in boxes)
        for answer, boxes in zip(answers, read, strict=True)
    ]
    unsized = sum(is_turned and size is None for is_turned, size in zip(turned, known, strict=True))
    what = f"{unsized} answers give an angle in an image of unknown size, which is taken for a square"
    return [what] if unsized else []


def _fits_an_object(record: Record, boxes: Sequence[Box]) -> bool:
    whole = (0.0, 0.0, 1.0, 1.0)  # the ground of a synthetic scene is a region, not an object
    objects = [Box(*region.box).clipped() for region in record.regions if tuple(region.box) != whole]
    return any(overlap(box, thing) > 0.5 for box in boxes for thing in objects)


def phrase_grounding(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """All boxes of the answer against all of ``references['boxes']``, paired at best, IoU strictly above 0.5.

    ``precision@0.5`` and ``recall@0.5`` divide the pairs of all items by all boxes found and all true boxes; ``f1@0.5``
    is their harmonic mean. An item is correct when every true box is found and nothing else.
    """
    known = sizes(records)
    read = _boxes_of(answers)
    found = [[upright(box) for box in boxes] for boxes in read]
    truths = [true_boxes(record) for record in records]
    pairs = [matched_boxes(a, b) for a, b in zip(found, truths, strict=True)]
    exact = [n == len(a) == len(b) for n, a, b in zip(pairs, found, truths, strict=True)]
    sums = [(n, len(a), len(b), 1) for n, a, b in zip(pairs, found, truths, strict=True)]
    rows = np.array(sums, float).reshape(-1, 4)
    statistics = {
        "precision@0.5": Statistic(rows, _precision),
        "recall@0.5": Statistic(rows, lambda sums: 100 * ratio(sums[..., 0], sums[..., 2])),
        "f1@0.5": Statistic(rows, _f1),
        "all_boxes_right": percent(exact),
    }
    items = [
        {"truth": box_lists(b), "correct": hit, "pairs": n, "found": len(a)}
        for a, b, n, hit in zip(found, truths, pairs, exact, strict=True)
    ]
    counts = {
        "true boxes": sum(map(len, truths)),
        "found boxes": sum(map(len, found)),
        "answers without a box": sum(not boxes for boxes in found),
    }
    return Scores(statistics, items, counts, _angle_note(answers, read, known))


def _precision(sums: np.ndarray) -> np.ndarray:
    """0 where items were asked and no box was found."""
    pairs, found, asked = sums[..., 0], sums[..., 1], sums[..., 3]
    return np.where(asked > 0, 100 * np.nan_to_num(ratio(pairs, found)), np.nan)


def _f1(sums: np.ndarray) -> np.ndarray:
    pairs, found, true = sums[..., 0], sums[..., 1], sums[..., 2]
    return np.where(true > 0, 200 * ratio(pairs, found + true), np.nan)
