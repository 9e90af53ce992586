"""How much a model can read, and how much of it is left for an answer."""

from __future__ import annotations

from collections.abc import Sequence

from skyeye.errors import SkyEyeError
from skyeye.models.modeling import SkyEyeForConditionalGeneration


def room_for_answer(model: SkyEyeForConditionalGeneration, prompt: Sequence[int], longest: int, where: str) -> int:
    """The longest answer to a prompt, in tokens: ``longest``, or what the model can still read behind the prompt.

    Args:
        where: who asks, for the message.

    Raises:
        SkyEyeError: the prompt alone is longer than what the model reads.
    """
    limit = getattr(model.config.text_config, "max_position_embeddings", None)
    if limit is None:
        return longest
    if len(prompt) >= limit:
        what = f"the prompt has {len(prompt):,} tokens with its images, the model reads {limit:,}"
        raise SkyEyeError(what, where=where, remedy="ask less at once, or show fewer images")
    return min(longest, limit - len(prompt))
