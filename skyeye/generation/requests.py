"""What is asked of the engine, and what comes back."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

import torch

from skyeye.data.sequence import IMAGE_TOKEN_ID
from skyeye.generation.sampling import GREEDY, Sampling


@dataclass(frozen=True)
class PromptGroup:
    """Prompts about the same images.

    Attributes:
        prompts: ids of each, ``IMAGE_TOKEN_ID`` at image tokens; all images stand in what the prompts have in common.
        image_features: (images, tokens_per_image, hidden_size), the images of one prompt; None without images.
        max_new_tokens: longest answer to each prompt, in tokens.
        sampling: how the answer to each prompt is chosen; None: greedily.
        key: the same for the same images, of any group; None: nobody else's. A later group with the key of one whose
            prefix is still stored is not computed from the beginning: only what it asks is.
    """

    prompts: Sequence[Sequence[int]]
    image_features: torch.Tensor | None
    max_new_tokens: Sequence[int]
    sampling: Sequence[Sampling] | None = None
    key: Hashable | None = None

    @property
    def common(self) -> int:
        """Tokens that all prompts begin with; at least one of each prompt is left for its row. Where others may join
        (``key``), up to the images' last."""
        same = sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, zip(*self.prompts, strict=False)))
        common = min(same, min(map(len, self.prompts)) - 1)
        if any(IMAGE_TOKEN_ID in prompt[common:] for prompt in self.prompts):
            raise ValueError("an image stands behind the common beginning of the prompts of a group")
        if self.key is None:
            return common
        return max((place + 1 for place, token in enumerate(self.prompts[0]) if token == IMAGE_TOKEN_ID), default=0)

    def sampling_of(self, prompt: int) -> Sampling:
        """How the answer to a prompt is chosen."""
        return GREEDY if self.sampling is None else self.sampling[prompt]


class Token(NamedTuple):
    """A token of an answer as it comes; ``group`` and ``prompt`` count from 0."""

    group: int
    prompt: int
    id: int
    log_probability: float | None


@dataclass(frozen=True)
class SharedAnswer:
    """An answer: ``ids`` end with the end token where it came; ``group`` and ``prompt`` count from 0.

    Attributes:
        log_probabilities: of each of the ids under the model's distribution, where they were asked for; else empty.
        stored_tokens: how many tokens at the beginning of the prompt had been computed before, for others.
    """

    group: int
    prompt: int
    ids: list[int]
    log_probabilities: list[float] = field(default_factory=list)
    stored_tokens: int = 0
