"""How much a model can read, and how much of it is left for an answer."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from skyeye.errors import SkyEyeError


def tokens_read(model: PreTrainedModel) -> int | None:
    """Tokens that a model reads, prompt and answer together; None: any number."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def room_for_answer(reads: int | None, prompt: Sequence[int], longest: int, where: str) -> int:
    """The longest answer to a prompt, in tokens: ``longest``, or what the model can still read behind the prompt.

    Args:
        reads: see :func:`tokens_read`.
        where: who asks, for the message.

    Raises:
        SkyEyeError: the prompt alone is longer than what the model reads.
    """
    if reads is None:
        return longest
    if len(prompt) >= reads:
        what = f"the prompt has {len(prompt):,} tokens with its images, the model reads {reads:,}"
        raise SkyEyeError(what, where=where, remedy="ask less at once, or show fewer images")
    return min(longest, reads - len(prompt))
