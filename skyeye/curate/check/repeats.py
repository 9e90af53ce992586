"""Repeated and contradicting records. A million of them must fit: three 64-bit digests are kept of each, no texts."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import numpy as np

from skyeye.data.record import Record

#: Tasks in which one question about one image has one answer; captions and conversations have many.
ONE_ANSWER = frozenset({"vqa", "classification", "refer", "detection"})


class Places:
    """Where each record was read, in a few bytes: most places are ``<file>, record <n>`` with few different files."""

    def __init__(self):
        self._files: dict[str, int] = {}
        self._file, self._end, self._rest = array("L"), array("Q"), bytearray()

    def add(self, where: str, id: str) -> None:
        file, comma, place = where.rpartition(", ") if ", " in where else (where, "", "")
        self._file.append(self._files.setdefault(file + comma, len(self._files)))
        self._rest += f"{place} ({id})".encode("utf-8", "surrogatepass")
        self._end.append(len(self._rest))

    def __len__(self) -> int:
        return len(self._end)

    def __getitem__(self, number: int) -> str:
        start = self._end[number - 1] if number else 0
        rest = self._rest[start : self._end[number]].decode("utf-8", "surrogatepass")
        return list(self._files)[self._file[number]] + rest


class Repeats:
    """Digests of records, in the order they were read."""

    def __init__(self):
        self._images, self._questions, self._answers = array("Q"), array("Q"), array("Q")
        self._one_answer = array("B")

    def add(self, record: Record) -> None:
        self._images.append(_digest(record.images))
        self._questions.append(_digest((record.task, *(_plain(turn.question) for turn in record.turns))))
        self._answers.append(_digest([_plain(turn.answer) for turn in record.turns]))
        self._one_answer.append(record.task in ONE_ANSWER and len(record.turns) == 1)

    def duplicates(self) -> np.ndarray:
        """(n, 2) int64: a record, and the first one with the same images, questions and answers."""
        columns = [_column(c) for c in (self._images, self._questions, self._answers)]
        return _repeated(columns, np.arange(len(self._images)))

    def contradictions(self) -> np.ndarray:
        """(n, 2) int64: a record, and the first one with the same images and question, which is answered otherwise.

        Only of tasks in which a question has one answer (:data:`ONE_ANSWER`).
        """
        rows = np.flatnonzero(np.frombuffer(self._one_answer, dtype=np.uint8))
        pairs = _repeated([_column(c) for c in (self._images, self._questions)], rows)
        answers = _column(self._answers)
        return pairs[answers[pairs[:, 0]] != answers[pairs[:, 1]]]


def _repeated(columns: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Rows whose values in all columns stood in an earlier row, beside the earliest such row; by row."""
    rows = rows[np.lexsort([rows, *(column[rows] for column in columns)])]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = np.any([column[rows[1:]] != column[rows[:-1]] for column in columns], axis=0)
    first = rows[np.flatnonzero(new)[np.cumsum(new) - 1]]
    pairs = np.stack([rows[~new], first[~new]], axis=1)
    return pairs[np.argsort(pairs[:, 0])]


def _column(values: array) -> np.ndarray:
    return np.frombuffer(values, dtype=np.uint64)


def _plain(text: str) -> str:
    """A text as it is compared: case, spaces and a final full stop do not make it another one."""
    return " ".join(text.casefold().split()).removesuffix(".")


def _digest(texts: Sequence[str]) -> int:
    joined = "\x1f".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little")
