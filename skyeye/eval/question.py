"""The question of a record, as it is asked; the one place of the evaluation that knows where it stands."""

from __future__ import annotations

from dataclasses import replace

from skyeye.data.record import Record, Turn


def asked(record: Record) -> str:
    """What is asked of the record: its first question."""
    return record.turns[0].question


def with_question(record: Record, question: str) -> Record:
    """The record with other words in its first turn; truth and images stay."""
    first = Turn(question=question, answer=record.turns[0].answer)
    return replace(record, turns=(first, *record.turns[1:]))
