"""A small synthetic scenes, and answerers by rule whose scores arithmetic knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from skyeye.data.record import Record
from skyeye.eval.question import PROTOCOL_STYLE, asked
from skyeye.eval.results import Answer
from skyeye.synth import write_scenes

HELD_OUT = 10


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "world"
    write_scenes(folder, images=1, seed=3, held_out=HELD_OUT, size=112, processes=1)
    return folder


class Oracle:
    """Answers by rule. It knows the true answers of the questions it was made with.

    ``perfect``: the true answer to the question about the image that is shown, nothing where it knows none;
    ``points_anywhere``: the same, but whatever is asked it speaks of the first thing that was asked of the image;
    ``habit``: what is true of the first image it was made with for these words, whatever image is shown; ``silent``:
    nothing.
    """

    def __init__(self, rule: str, records: Sequence[Record]):
        self.rule = rule
        self.truth: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
        self.first: dict[str, str] = {}
        for record in records:
            known = self.truth.setdefault((record.task, record.images), {})
            question, answer = asked(record), PROTOCOL_STYLE.answer(record.turns[0])
            known[question] = answer
            self.first.setdefault(question, answer)

    def __call__(self, records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        return ((index, Answer(self.answer(record))) for index, record in enumerate(records))

    def answer(self, record: Record) -> str:
        known = self.truth[record.task, record.images]
        return {
            "perfect": known.get(asked(record), ""),
            "points_anywhere": next(iter(known.values())),
            "habit": self.first[asked(record)],
            "silent": "",
        }[self.rule]


@pytest.fixture
def oracle() -> type[Oracle]:
    return Oracle
