"""One function per family of tasks: (records, answers) -> :class:`Scores`; values in percent unless said otherwise.

A metric whose name holds a ``/`` is a part of the one before the stroke: ``accuracy/count`` is the accuracy of the
counting questions. What each family reads from ``Record.references`` stands in its docstring.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from skyeye.data.boxes import Box, iou, parse_boxes
from skyeye.data.record import Record
from skyeye.eval.captions import default_scorer
from skyeye.eval.normalise import normalise_answer

#: Metrics of which less is better; they are no percentages (objects miscounted, on average).
LOWER_IS_BETTER = frozenset({"count_error"})

#: Names that data sets give to the same type of question.
_TYPES = {"comp": "comparison", "rural_or_urban": "rural_urban", "urban_rural": "rural_urban"}


@dataclass
class Scores:
    """What a metric makes of the answers.

    Attributes:
        metrics: name -> value; None where nothing could be measured.
        items: for each record ``truth`` (as text or list), ``correct`` (None where there is no right or wrong), and
            what the family adds (``iou``, ``cider``, ...).
        counts: how many items a value rests on, and how many answers could not be read.
        notes: what a reader of the numbers has to know.
    """

    metrics: dict[str, float | None]
    items: list[dict[str, Any]]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


Metric = Callable[[Sequence[Record], Sequence[str]], Scores]


def percent(hits: Iterable[float]) -> float | None:
    """100 x mean; None of nothing."""
    values = list(hits)
    return 100 * float(np.mean(values)) if values else None


def question_type(record: Record) -> str | None:
    """The type of a question under its common name (``comparison``, ``rural_urban``), or None."""
    name = record.references.get("type")
    if name is None:
        return None
    slug = re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_")
    return _TYPES.get(slug, slug)


def _by_label(name: str, labels: Sequence[str | None], hits: Sequence[float]) -> tuple[dict[str, Any], dict[str, int]]:
    """``name/label`` -> percent of hits, and ``label`` -> number of items, for the labels that occur."""
    groups: dict[str, list[float]] = defaultdict(list)
    for label, hit in zip(labels, hits, strict=True):
        if label is not None:
            groups[label].append(hit)
    ordered = sorted(groups)
    return {f"{name}/{x}": percent(groups[x]) for x in ordered}, {x: len(groups[x]) for x in ordered}


def captions(records: Sequence[Record], answers: Sequence[str]) -> Scores:
    """BLEU-1..4, METEOR, ROUGE_L, CIDEr against ``references['captions']``."""
    scorer = default_scorer()
    truths = [record.references["captions"] for record in records]
    if not truths:
        return Scores({}, [])
    metrics, each = scorer.score(truths, answers)
    items = [{"truth": truth, "correct": None, **scores} for truth, scores in zip(truths, each, strict=True)]
    return Scores(metrics, items, {}, scorer.notes(len(truths)))


def vqa(records: Sequence[Record], answers: Sequence[str], mean_types: Sequence[str] | None = None) -> Scores:
    """Exact match with ``references['answer']`` after full normalisation: overall, by ``type``, mean over the types.

    Args:
        mean_types: the types that ``mean_over_types`` takes in; None: all that occur.
    """
    truths = [str(record.references["answer"]) for record in records]
    hits = [normalise_answer(a) == normalise_answer(t) for a, t in zip(answers, truths, strict=True)]
    labels = [question_type(record) for record in records]
    by_type, counts = _by_label("accuracy", labels, hits)
    in_mean = [by_type[f"accuracy/{x}"] for x in mean_types or counts if x in counts]
    metrics = {"accuracy": percent(hits), "mean_over_types": float(np.mean(in_mean)) if in_mean else None, **by_type}
    if "count" in counts:
        errors = [_count_error(a, t) for a, t, label in zip(answers, truths, labels, strict=True) if label == "count"]
        readable = [error for error in errors if error is not None]
        metrics["count_error"] = float(np.mean(readable)) if readable else None
        counts["count answers without a number"] = len(errors) - len(readable)
    items = [{"truth": t, "correct": h, "type": x} for t, h, x in zip(truths, hits, labels, strict=True)]
    return Scores(metrics, items, counts)


def _count_error(answer: str, truth: str) -> float | None:
    """Absolute difference of two numbers given as words or digits; None when the answer names no number."""
    numbers = [re.search(r"\d+", normalise_answer(text)) for text in (answer, truth)]
    return None if None in numbers else float(abs(int(numbers[0][0]) - int(numbers[1][0])))


def true_boxes(record: Record) -> list[Box]:
    """``references['boxes']`` cut to the image, which is all an answer can name."""
    return [Box(*box).clipped() for box in record.references["boxes"]]


def overlap(a: Box, b: Box) -> float:
    """IoU of two boxes in fractions of the image, rounded so that half an overlap is 0.5 in decimal fractions too."""
    return round(iou(a, b), 9)


def refer(records: Sequence[Record], answers: Sequence[str]) -> Scores:
    """The first box of the answer against ``references['boxes']`` (one box; the best of several).

    A hit is an IoU strictly above 0.5; an answer without a well-formed box counts as IoU 0. All items are in the
    divisor. IoU is computed on fractions of the image, without the +1 that the reference adds to the sides in pixels.
    ``any_object@0.5``: the box fits some object of ``record.regions``, the named one or not; it tells a model that
    finds objects but does not listen from one that finds nothing.
    """
    found = [parse_boxes(answer)[:1] for answer in answers]
    overlaps = [
        max((overlap(box, truth) for box in boxes for truth in true_boxes(record)), default=0.0)
        for record, boxes in zip(records, found, strict=True)
    ]
    hits = [value > 0.5 for value in overlaps]
    labels = [question_type(record) for record in records]
    by_type, counts = _by_label("accuracy@0.5", labels, hits)
    metrics = {"accuracy@0.5": percent(hits), "mean_iou": percent(overlaps), **by_type}
    if records and all(record.regions for record in records):
        metrics["any_object@0.5"] = percent(_fits_an_object(r, boxes) for r, boxes in zip(records, found, strict=True))
    items = [
        {"truth": _box_lists(true_boxes(record)), "correct": hit, "iou": round(value, 4), "type": label}
        for record, hit, value, label in zip(records, hits, overlaps, labels, strict=True)
    ]
    return Scores(metrics, items, counts | {"answers without a box": sum(not boxes for boxes in found)})


def _fits_an_object(record: Record, boxes: Sequence[Box]) -> bool:
    whole = (0.0, 0.0, 1.0, 1.0)  # the ground of a made scene is a region, not an object
    objects = [Box(*region.box).clipped() for region in record.regions if tuple(region.box) != whole]
    return any(overlap(box, thing) > 0.5 for box in boxes for thing in objects)


def matched_boxes(found: Sequence[Box], truths: Sequence[Box], threshold: float = 0.5) -> int:
    """How many true boxes can be paired with a found box of IoU above ``threshold``, each box used once, at best."""
    if not found or not truths:
        return 0
    close = np.array([[overlap(a, b) > threshold for b in truths] for a in found])
    rows, columns = linear_sum_assignment(close, maximize=True)
    return int(close[rows, columns].sum())


def phrase_grounding(records: Sequence[Record], answers: Sequence[str]) -> Scores:
    """All boxes of the answer against all of ``references['boxes']``, paired at best, IoU strictly above 0.5.

    ``precision@0.5`` and ``recall@0.5`` divide the pairs of all items by all boxes found and all true boxes; ``f1@0.5``
    is their harmonic mean. An item is correct when every true box is found and nothing else.
    """
    found = [parse_boxes(answer) for answer in answers]
    truths = [true_boxes(record) for record in records]
    pairs = [matched_boxes(a, b) for a, b in zip(found, truths, strict=True)]
    n_found, n_true, n_pairs = sum(map(len, found)), sum(map(len, truths)), sum(pairs)
    precision, recall = n_pairs / n_found if n_found else 0.0, n_pairs / n_true if n_true else None
    f1 = None if recall is None else 2 * n_pairs / (n_found + n_true)
    exact = [n == len(a) == len(b) for n, a, b in zip(pairs, found, truths, strict=True)]
    metrics = {
        "precision@0.5": 100 * precision if records else None,
        "recall@0.5": None if recall is None else 100 * recall,
        "f1@0.5": None if f1 is None else 100 * f1,
        "all_boxes_right": percent(exact),
    }
    items = [
        {"truth": _box_lists(b), "correct": hit, "pairs": n, "found": len(a)}
        for a, b, n, hit in zip(found, truths, pairs, exact, strict=True)
    ]
    counts = {"true boxes": n_true, "found boxes": n_found, "answers without a box": sum(not boxes for boxes in found)}
    return Scores(metrics, items, counts)


def classification(records: Sequence[Record], answers: Sequence[str]) -> Scores:
    """The class that the answer names, among ``references['classes']``, against ``references['answer']``.

    Names are compared without case, spaces and marks (``BaseballField`` is "baseball field"), at word borders.
    An answer that names several classes is wrong.
    """
    named = [
        classes_named(answer, record.references["classes"]) for record, answer in zip(records, answers, strict=True)
    ]
    truths = [record.references["answer"] for record in records]
    hits = [[_compact(x) for x in names] == [_compact(truth)] for names, truth in zip(named, truths, strict=True)]
    by_class, counts = _by_label("accuracy", truths, hits)
    items = [{"truth": t, "correct": h, "named": n} for t, h, n in zip(truths, hits, named, strict=True)]
    counts |= {
        "answers that name no class": sum(not names for names in named),
        "answers that name several": sum(len(names) > 1 for names in named),
    }
    return Scores({"accuracy": percent(hits), **by_class}, items, counts)


def classes_named(answer: str, classes: Sequence[str]) -> list[str]:
    """The classes whose names stand in the text; a name inside a longer name ("residential") does not count."""
    by_name = {_compact(name): name for name in classes}
    words = _words(answer)
    spans = [
        (start, end)
        for start in range(len(words))
        for end in range(start + 1, min(len(words), start + 6) + 1)
        if "".join(words[start:end]) in by_name
    ]
    outer = [(s, e) for s, e in spans if not any((a <= s and e <= b) and (a, b) != (s, e) for a, b in spans)]
    return list(dict.fromkeys(by_name["".join(words[s:e])] for s, e in outer))


def _words(text: str) -> list[str]:
    """Lower-case words of letters and digits; a capital inside a word starts a new one."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())


def _compact(name: str) -> str:
    return "".join(_words(name))


def identify(records: Sequence[Record], answers: Sequence[str]) -> Scores:
    """Referring expression generation: caption metrics against ``references['captions']`` (the phrases that would do),
    and exact match with any of them after full normalisation."""
    scores = captions(records, answers)
    hits = [
        normalise_answer(answer) in {normalise_answer(phrase) for phrase in record.references["captions"]}
        for record, answer in zip(records, answers, strict=True)
    ]
    items = [{**item, "correct": hit} for item, hit in zip(scores.items, hits, strict=True)]
    return Scores({"exact_match": percent(hits), **scores.metrics}, items, scores.counts, scores.notes)


def _box_lists(boxes: Iterable[Box]) -> list[list[float]]:
    return [[round(v, 4) for v in box] for box in boxes]
