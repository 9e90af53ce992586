"""Visual question answering: exact match after normalisation, and how far counts are off."""

from __future__ import annotations

import re
from collections.abc import Sequence

from skyeye.data.record import Record
from skyeye.eval.metrics.base import Scores, by_label, mean, mean_of, percent
from skyeye.eval.metrics.normalise import normalise_answer
from skyeye.eval.results import Answer

#: Names that data sets give to the same type of question.
_TYPES = {"comp": "comparison", "rural_or_urban": "rural_urban", "urban_rural": "rural_urban"}
#: Longer runs of digits are no count of anything, and could not be turned into a number.
_NUMBER = re.compile(r"(?<!\d)\d{1,15}(?!\d)")


def question_type(record: Record) -> str | None:
    """The type of a question under its common name (``comparison``, ``rural_urban``), or None."""
    name = record.references.get("type")
    if name is None:
        return None
    slug = re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_")
    return _TYPES.get(slug, slug)


def vqa(records: Sequence[Record], answers: Sequence[Answer], mean_types: Sequence[str] | None = None) -> Scores:
    """Exact match with ``references['answer']`` after full normalisation: overall, by ``type``, mean over the types.

    Args:
        mean_types: the types that ``mean_over_types`` takes in; None: all that occur.
    """
    truths = [str(record.references["answer"]) for record in records]
    hits = [normalise_answer(a.text) == normalise_answer(t) for a, t in zip(answers, truths, strict=True)]
    labels = [question_type(record) for record in records]
    by_type, counts = by_label("accuracy", labels, hits)
    in_mean = [by_type[f"accuracy/{x}"] for x in mean_types or counts if x in counts]
    statistics = {"accuracy": percent(hits), "mean_over_types": mean_of(in_mean, len(records)), **by_type}
    if "count" in counts:
        errors = [_count_error(a.text, t, label) for a, t, label in zip(answers, truths, labels, strict=True)]
        readable = [error is not None for error in errors]
        statistics["count_error"] = mean([error or 0.0 for error in errors], readable)
        counts["count answers without a number"] = counts["count"] - sum(readable)
    items = [{"truth": t, "correct": h, "type": x} for t, h, x in zip(truths, hits, labels, strict=True)]
    return Scores(statistics, items, counts)


def _count_error(answer: str, truth: str, label: str | None) -> float | None:
    """Absolute difference of two numbers given as words or digits; None for other questions and without a number."""
    if label != "count":
        return None
    said, right = (_NUMBER.search(normalise_answer(text)) for text in (answer, truth))
    return None if said is None or right is None else float(abs(int(said[0]) - int(right[0])))
