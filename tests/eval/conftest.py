"""A small made world, and answerers by rule whose scores arithmetic knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from skyeye.data.record import Record
from skyeye.data.synth import write_world
from skyeye.eval import metrics, run
from skyeye.eval.captions import CaptionScorer

HELD_OUT = 10


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "world"
    write_world(folder, images=1, seed=3, held_out=HELD_OUT, size=112, processes=1)
    return folder


@pytest.fixture
def without_java(monkeypatch) -> None:
    """METEOR takes seconds to start; its own tests are in test_captions.py."""
    scorer = CaptionScorer(java=None)
    monkeypatch.setattr(metrics, "default_scorer", lambda: scorer)
    monkeypatch.setattr(run, "default_scorer", lambda: scorer)


class Oracle:
    """Answers by rule. It knows the true answers of the questions it was made with.

    ``perfect``: the true answer to the question about the image that is shown, nothing where it knows none;
    ``points_anywhere``: the same, but whatever is asked it speaks of the first thing that was asked of the image;
    ``habit``: the true answer of the record, whatever image or words are shown; ``silent``: nothing.
    """

    def __init__(self, rule: str, records: Sequence[Record]):
        self.rule = rule
        self.truth: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
        for record in records:
            known = self.truth.setdefault((record.task, record.images), {})
            known[record.turns[0].question] = record.turns[0].answer

    def __call__(self, records: Sequence[Record], max_new_tokens: int, done: Callable[[int], None]) -> list[str]:
        done(len(records))
        return [self.answer(record) for record in records]

    def answer(self, record: Record) -> str:
        known = self.truth[record.task, record.images]
        return {
            "perfect": known.get(record.turns[0].question, ""),
            "points_anywhere": next(iter(known.values())),
            "habit": record.turns[0].answer,
            "silent": "",
        }[self.rule]


@pytest.fixture
def oracle() -> type[Oracle]:
    return Oracle
