"""Which token comes next: the likeliest, or one drawn; and how likely the model held it."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from skyeye.errors import SkyEyeError


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one answer are chosen.

    Attributes:
        temperature: 0: always the likeliest token; above: one drawn from the softmax of the logits divided by it.
        top_p: drawn from the likeliest tokens whose probabilities first reach this sum, 0 < top_p <= 1.
        seed: answers with the same seed are the same, alone or among others (beyond rounding); None: another one for
            each answer.
        log_probabilities: whether the answer tells the log-probability of each of its tokens.

    Raises:
        SkyEyeError: a number outside its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    log_probabilities: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise SkyEyeError(
                f"{self.temperature} is no temperature", where="temperature", remedy="0, or a number above"
            )
        if not 0 < self.top_p <= 1:
            raise SkyEyeError(f"{self.top_p} is no share", where="top_p", remedy="a number above 0, at most 1")

    def drawn_seed(self) -> int:
        """The seed, or a new one."""
        return secrets.randbits(63) if self.seed is None else self.seed


GREEDY = Sampling()


@dataclass(frozen=True)
class Choice:
    """What one row needs for its next token.

    Attributes:
        seed: of the row, see :meth:`Sampling.drawn_seed`.
        step: how many tokens the row has said.
    """

    sampling: Sampling
    seed: int
    step: int


def next_tokens(
    logits: torch.Tensor, scores: torch.Tensor, choices: Mapping[int, Choice]
) -> tuple[list[int], dict[int, float]]:
    """The next token of each row, and by row the log-probabilities that are asked for.

    Args:
        logits: (rows, V), of the model; log-probabilities are of their softmax, whatever the temperature.
        scores: (rows, V) float32, the same with penalties; tokens are chosen by them.
        choices: by row; the others get the likeliest token.
    """
    tokens = scores.argmax(dim=-1)
    drawn = [row for row, choice in choices.items() if choice.sampling.temperature > 0]
    if drawn:
        rows = torch.tensor(drawn, device=tokens.device)
        tokens = tokens.index_copy(0, rows, _draw(scores[rows], [choices[row] for row in drawn]))
    asked = [row for row, choice in choices.items() if choice.sampling.log_probabilities]
    told: dict[int, float] = {}
    if asked:
        rows = torch.tensor(asked, device=tokens.device)
        chosen = logits[rows].float().log_softmax(dim=-1).gather(1, tokens[rows, None])
        told = dict(zip(asked, chosen[:, 0].tolist(), strict=True))
    return tokens.tolist(), told


def _draw(scores: torch.Tensor, choices: Sequence[Choice]) -> torch.Tensor:
    """One token (rows,) for each row of scores (rows, V).

    Tokens stand in the order of their probability; the number of the row and step, times the sum of those that may be
    drawn, says which of them it is. So a row needs one number, whoever is beside it.
    """
    numbers = [
        (choice.sampling.temperature, choice.sampling.top_p, uniform(choice.seed, choice.step)) for choice in choices
    ]
    temperature, top_p, number = torch.tensor(numbers, dtype=torch.float32).to(scores.device).T.unsqueeze(-1)
    below = scores - scores.amax(dim=-1, keepdim=True)  # a small temperature must not make infinities
    shares, order = (below / temperature).softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    sums = shares.cumsum(dim=-1)
    allowed = (sums - shares < top_p).sum(dim=-1, keepdim=True)
    whole = sums.gather(1, allowed - 1)
    place = (sums <= number * whole).sum(dim=-1, keepdim=True)
    return order.gather(1, torch.minimum(place, allowed - 1))[:, 0]


def uniform(seed: int, step: int) -> float:
    """A number 0 <= u < 1 that depends on a seed and a step alone."""
    digest = hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)
