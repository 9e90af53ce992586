"""Training losses, as sums: the caller divides, by a count that may be that of the whole global batch."""

from __future__ import annotations

import torch
from torch.nn import functional as F

IGNORE_INDEX = -100


def token_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    number_token_ids: torch.Tensor | None = None,
    number_smoothing: float = 0.0,
) -> torch.Tensor:
    """Sum of the cross entropies of (N, V) logits, in float32, at (N,) target ids.

    Args:
        number_token_ids: (101,) ids of the box tokens <0> .. <100>.
        number_smoothing: > 0 replaces the target of a box token by a Gaussian over the numbers with this standard
            deviation, in 1/100 of the image: a near miss costs less than a far one.
    """
    log_probabilities = logits.float().log_softmax(dim=-1)
    losses = F.nll_loss(log_probabilities, targets, reduction="none")
    if number_smoothing > 0:
        number_token_ids = number_token_ids.to(targets.device)
        is_number = targets.unsqueeze(1) == number_token_ids  # (N, 101)
        rows, numbers = is_number.nonzero(as_tuple=True)
        scale = torch.arange(len(number_token_ids), device=logits.device, dtype=torch.float32)
        distance = (scale - numbers.unsqueeze(1)) / number_smoothing
        soft = (-0.5 * distance**2).softmax(dim=-1)
        smoothed = -(soft * log_probabilities[rows][:, number_token_ids]).sum(dim=-1)
        losses = losses.index_put((rows,), smoothed)
    return losses.sum()


def alignment_loss(logits: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Word-region alignment: the language model's output at an image token should name what lies there.

    Args:
        logits: (N, V) at image tokens that have words.
        words: (N, K) word ids seen at each token, at least one, padded with -100.

    Returns:
        Sum over the tokens of the cross entropy against the uniform distribution over the token's words.
    """
    present = words != IGNORE_INDEX
    log_probabilities = logits.float().log_softmax(dim=-1).gather(1, words.clamp(min=0))
    return -(log_probabilities.masked_fill(~present, 0.0).sum(dim=-1) / present.sum(dim=-1)).sum()
