"""What a worker has to answer, and how it tells what it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from skyeye.data.record import Turn
from skyeye.generation.sampling import Sampling
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.images import Received


@dataclass(frozen=True)
class Piece:
    """What has been added to an answer.

    Attributes:
        choice: which of the answers.
        text: new text.
        ids, log_probabilities: new tokens; the latter where they were asked for.
        finish_reason: ``stop`` or ``length``, of the last piece; else None.
    """

    choice: int
    text: str
    ids: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    finish_reason: str | None = None
    stored_tokens: int = 0


@dataclass(eq=False)
class Job:
    """A request.

    Attributes:
        prompt: ids.
        longest: tokens of an answer.
        sampling: of each answer.
        stops: texts that end an answer.
        streams: pieces are told as they come; otherwise each answer is one piece.
        tell: called in the worker's thread with a :class:`Piece`, or with the error that ended the job.
        cancelled: set by the other side; nothing more is told then.
    """

    turns: tuple[Turn, ...]
    pictures: tuple[Received, ...]
    prompt: Sequence[int]
    longest: int
    sampling: Sequence[Sampling]
    stops: tuple[str, ...]
    streams: bool
    tell: Callable[[Piece | ApiError], Any]
    cancelled: bool = False
    unfinished: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.unfinished = set(range(len(self.sampling)))
