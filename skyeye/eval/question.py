"""The question of a record, as it is asked; the one place of the evaluation that knows where it stands."""

from __future__ import annotations

from dataclasses import replace

from skyeye.data.prompts import MiniGPTv2, PromptStyle
from skyeye.data.record import Record, Turn
from skyeye.data.tasks import FREE
from skyeye.eval.metrics.sizes import sizes

#: In whose words a question is shown where no model is at hand: those of the paper whose numbers stand beside ours.
PROTOCOL_STYLE = MiniGPTv2()


def asked(record: Record, style: PromptStyle = PROTOCOL_STYLE) -> str:
    """What is asked of the record: its first question, in the words of the model that is asked."""
    turn = record.turns[0]
    size = sizes([record])[0] if turn.question_mentions and style.needs_size else None
    return style.question(turn, size)


def with_turn(record: Record, turn: Turn) -> Record:
    """The record with another first turn; truth and images stay."""
    return replace(record, turns=(turn, *record.turns[1:]))


def with_question(record: Record, question: str) -> Record:
    """The record with a question as somebody asked it, word for word."""
    return with_turn(record, record.turns[0].asked(question, task=FREE))
