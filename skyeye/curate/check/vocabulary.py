"""Answers that only training or only evaluation has, where the answers are a closed vocabulary."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from skyeye.data.formats.base.splits import SPLITS
from skyeye.data.record import Record

CLOSED_TASKS = frozenset({"vqa", "classification"})
MAX_ANSWERS = 2000  # distinct answers of a closed vocabulary, at most
RECORDS_PER_ANSWER = 5  # on average, at least: with fewer the answers are free text


class Vocabulary:
    """Counts the answers of each data set and task on both sides."""

    def __init__(self):
        self._records: dict[tuple[str, str], Counter[bool]] = {}
        self._answers: dict[tuple[str, str], tuple[Counter[str], Counter[str]] | None] = {}

    def add(self, record: Record, trains: bool) -> None:
        if record.task not in CLOSED_TASKS or len(record.turns) != 1:
            return
        key = (_without_split(record.source), record.task)
        self._records.setdefault(key, Counter())[trains] += 1
        sides = self._answers.setdefault(key, (Counter(), Counter()))
        if sides is None:
            return
        sides[trains][record.turns[0].answer.strip().casefold()] += 1
        if len(sides[0]) + len(sides[1]) > 2 * MAX_ANSWERS:
            self._answers[key] = None  # free text: forget it

    def compare(self) -> dict[str, dict[str, Any]]:
        """``data set/task`` -> records of both sides, closed or not, the answers that one side lacks with their counts.

        Without records on both sides, or with an open vocabulary, nothing is compared.
        """
        told: dict[str, dict[str, Any]] = {}
        for key, sides in sorted(self._answers.items()):
            records = self._records[key]
            entry: dict[str, Any] = {"training": records[True], "evaluation": records[False], "closed": False}
            told["/".join(key)] = entry
            if sides is None:
                continue
            evaluation, training = sides
            distinct = len(evaluation.keys() | training.keys())
            if distinct > MAX_ANSWERS or distinct * RECORDS_PER_ANSWER > records.total():
                continue
            entry |= {"closed": True, "answers": distinct}
            if records[True] and records[False]:
                entry["never in evaluation"] = _missing(training, evaluation)
                entry["never in training"] = _missing(evaluation, training)
        return told


def _without_split(source: str) -> str:
    """``vqa_train`` and ``vqa_test`` are one data set: files of unnamed sets give their own name to their records."""
    return re.sub(rf"[_.-](?:{'|'.join(SPLITS)})(?=[_.-]|\Z)", "", source, flags=re.IGNORECASE)


def _missing(of: Counter[str], where: Counter[str]) -> dict[str, int]:
    """Answers of one side that the other lacks, the most frequent first."""
    return {answer: count for answer, count in of.most_common() if answer not in where}
