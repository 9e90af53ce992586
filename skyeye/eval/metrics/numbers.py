"""Answers that are numbers: counts, ground sample distances, lengths."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from skyeye.data.record import Record
from skyeye.eval.metrics.base import Scores, Statistic, by_label, percent, ratio
from skyeye.eval.metrics.vqa import question_type
from skyeye.eval.results import Answer

_DIGITS = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?!\d)(?:\.\d{1,12})?|(?<![\w.])\.\d{1,12}")
_UNITS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_TENS = {word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)}
_WORDS = {"zero": 0, "none": 0, "no": 0} | {
    word: number for number, word in enumerate(f"{_UNITS} eighteen nineteen".split(), start=1)
}


def numbers_in(text: str) -> list[float]:
    """The numbers that a text names in digits, in order; without digits, those in words (up to ninety-nine)."""
    found = [float(number.replace(",", "")) for number in _DIGITS.findall(text)]
    return found or _in_words(re.findall(r"[a-z]+", text.lower()))


def _in_words(words: Sequence[str]) -> list[float]:
    found: list[float] = []
    tens = None
    for word in words:
        if tens is not None and 0 < _WORDS.get(word, 0) < 10:
            found[-1] = float(tens + _WORDS[word])
            tens = None
            continue
        tens = _TENS.get(word)
        if tens is not None or word in _WORDS:
            found.append(float(tens if tens is not None else _WORDS[word]))
    return found


def counting(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """The first number of an answer against the count ``references['answer']``.

    ``accuracy``: the same number; ``within_1``: off by one at most; an answer without a number is wrong in both.
    ``mae`` and ``rmse``: mean and root mean square of the errors, over the answers with a number; the others are
    counted. Parts by ``references['type']``.
    """
    truths = [numbers_in(str(record.references["answer"]))[:1] for record in records]
    said = [numbers_in(answer.text)[:1] for answer in answers]
    errors = [abs(a[0] - b[0]) if a and b else None for a, b in zip(said, truths, strict=True)]
    exact, near = ([error is not None and error <= most for error in errors] for most in (0, 1))
    labels = [question_type(record) for record in records]
    parts, counts = by_label("within_1", labels, near)
    exact_parts, _ = by_label("accuracy", labels, exact)
    counts["answers without a number"] = sum(not numbers for numbers in said)
    statistics = {"within_1": percent(near), "accuracy": percent(exact), **_errors([[e] for e in errors])}
    items = [
        {"truth": str(r.references["answer"]), "correct": hit, "error": error, "type": label}
        for r, hit, error, label in zip(records, exact, errors, labels, strict=True)
    ]
    return Scores(statistics | parts | exact_parts, items, counts)


def measures(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """The numbers of an answer against those of ``references['answer']``, one after the other.

    ``within_10_percent``: all of them are; an answer with another number of numbers is wrong. ``mae``, ``rmse`` in the
    unit of the truth and ``mape`` in percent of it, over the numbers of the other answers, as VHM computes them.
    """
    truths = [numbers_in(str(record.references["answer"])) for record in records]
    said = [numbers_in(answer.text) for answer in answers]
    pairs = [list(zip(a, b, strict=True)) if len(a) == len(b) and b else [] for a, b in zip(said, truths, strict=True)]
    near = [bool(own) and all(abs(a - b) <= 0.1 * abs(b) for a, b in own) for own in pairs]
    shares = [[abs(a - b) / abs(b) for a, b in own if b] for own in pairs]
    rows = np.array([(sum(own), len(own)) for own in shares], float).reshape(-1, 2)
    statistics = {
        "within_10_percent": percent(near),
        **_errors([[abs(a - b) for a, b in own] for own in pairs]),
        "mape": Statistic(rows, lambda sums: 100 * ratio(sums[..., 0], sums[..., 1])),
    }
    items = [
        {"truth": str(r.references["answer"]), "correct": hit, "said": numbers}
        for r, hit, numbers in zip(records, near, said, strict=True)
    ]
    return Scores(statistics, items, {"answers without these numbers": sum(not own for own in pairs)})


def _errors(of: Sequence[Sequence[float | None]]) -> dict[str, Statistic]:
    """Mean and root mean square of the errors of all items; None is none."""
    known = [[error for error in own if error is not None] for own in of]
    rows = np.array([(sum(own), len(own), sum(e * e for e in own)) for own in known], float).reshape(-1, 3)
    return {
        "mae": Statistic(rows, lambda sums: ratio(sums[..., 0], sums[..., 1])),
        "rmse": Statistic(rows, lambda sums: np.sqrt(ratio(sums[..., 2], sums[..., 1]))),
    }
