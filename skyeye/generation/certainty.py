"""How likely a model held a piece of its answer: a box, say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from skyeye.models.processing import SkyEyeProcessor


class Told(NamedTuple):
    """A token of an answer: the place in the text behind its last character, and its log-probability."""

    end: int
    log_probability: float


def told_tokens(ids: Sequence[int], log_probabilities: Sequence[float], processor: SkyEyeProcessor) -> tuple[Told, ...]:
    """The tokens of an answer in the text that they decode to.

    Args:
        ids: of the answer.
        log_probabilities: of the ids; empty: unknown, and so is the answer.
    """
    if not log_probabilities:
        return ()
    ends = accumulate((len(processor.decode(ids[: n + 1])) for n in range(len(ids))), max)
    return tuple(Told(end, told) for end, told in zip(ends, log_probabilities, strict=False))


def certainty(span: tuple[int, int], tokens: Sequence[tuple[int, float]]) -> float | None:
    """The geometric mean of the probabilities of the tokens that write a piece of a text; None: they are unknown.

    Args:
        span: the piece, from its first character to behind its last.
        tokens: of the text, see :class:`Told`.
    """
    first, last = span
    start, own = 0, []
    for end, log_probability in tokens:
        if end > first and start < last:
            own.append(log_probability)
        start = end
    return math.exp(sum(own) / len(own)) if own else None
