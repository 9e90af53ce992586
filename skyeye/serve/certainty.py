"""How likely a model held the boxes that it wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.read_boxes import FoundBox


def certainties(
    found: Sequence[FoundBox], ids: Sequence[int], log_probabilities: Sequence[float], processor: SkyEyeProcessor
) -> list[float | None]:
    """For each box, the geometric mean of the probabilities of the tokens that write it; None: they are unknown.

    Args:
        found: boxes of the text that the ids decode to.
        ids: of the answer.
        log_probabilities: of the ids; empty: unknown.
    """
    if not found or not log_probabilities:
        return [None] * len(found)
    ends = list(accumulate((len(processor.decode(ids[: n + 1])) for n in range(len(ids))), max))
    starts = [0, *ends]
    means: list[float | None] = []
    for one in found:
        first, last = one.span
        own = [
            told
            for start, end, told in zip(starts, ends, log_probabilities, strict=False)
            if end > first and start < last
        ]
        means.append(round(math.exp(sum(own) / len(own)), 3) if own else None)
    return means
