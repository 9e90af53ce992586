"""Training losses, as sums: the caller divides, by a count that may be that of the whole global batch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

IGNORE_INDEX = -100
#: Targets whose logits are in memory together.
PIECE = 1024
#: Box numbers <0> .. <100>.
NUMBERS = 101


def targets_of(labels: torch.Tensor) -> torch.Tensor:
    """(B, T) labels, not shifted -> (B, T) ids that the tokens should predict, -100 where nothing is to be learnt."""
    targets = labels.roll(-1, dims=1)
    targets[:, -1] = IGNORE_INDEX
    return targets


def places_of(targets: torch.Tensor) -> torch.Tensor:
    """(N,), where in the B * T tokens of the rows a target is predicted. A GPU is waited for to know how many."""
    return (targets != IGNORE_INDEX).flatten().nonzero().squeeze(1)


def soft_numbers(numbers: torch.Tensor, deviation: float) -> torch.Tensor:
    """(...) integers 0..100 -> (..., 101) Gaussian weights around them that sum to one.

    Args:
        deviation: standard deviation in 1/100 of the image: a near miss costs less than a far one.
    """
    scale = torch.arange(NUMBERS, device=numbers.device, dtype=torch.float32)
    return (-0.5 * ((scale - numbers.unsqueeze(-1)) / deviation) ** 2).softmax(dim=-1)


def token_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    box_token_ids: torch.Tensor | None = None,
    box_token_smoothing: float = 0.0,
) -> torch.Tensor:
    """Sum of the cross entropies of (N, V) logits, in float32, at (N,) target ids.

    Args:
        box_token_ids: (101,) ids of the box tokens <0> .. <100>.
        box_token_smoothing: > 0 replaces the target of a box token by :func:`soft_numbers` with this deviation.
    """
    log_probabilities = logits.float().log_softmax(dim=-1)
    losses = F.nll_loss(log_probabilities, targets, reduction="none")
    if box_token_smoothing > 0:
        box_token_ids = box_token_ids.to(targets.device)
        rows, numbers = (targets.unsqueeze(1) == box_token_ids).nonzero(as_tuple=True)
        soft = soft_numbers(numbers, box_token_smoothing)
        smoothed = -(soft * log_probabilities[rows][:, box_token_ids]).sum(dim=-1)
        losses = losses.index_put((rows,), smoothed)
    return losses.sum()


def mean_token_loss(
    logits: torch.Tensor, targets: torch.Tensor, count: int | torch.Tensor | None, **numbers
) -> torch.Tensor:
    """:func:`token_loss` divided by ``count``; None: by the number of targets.

    Args:
        numbers: of the box numbers, as for :func:`token_loss`.
    """
    return token_loss(logits, targets, **numbers) / (max(len(targets), 1) if count is None else count)


def loss_in_pieces(
    head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, count: int | torch.Tensor | None, **numbers
) -> torch.Tensor:
    """The loss of :func:`mean_token_loss` from (N, H) hidden states; logits of :data:`PIECE` targets are in memory.

    The logits of a piece are computed again in the backward pass: a head and a vocabulary of 32,000 take 128 MB for
    a thousand targets, and as much again for their gradient.
    """
    count = max(len(targets), 1) if count is None else count

    def piece(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return mean_token_loss(head(hidden), targets, count, **numbers)

    pieces = list(zip(hidden.split(PIECE), targets.split(PIECE), strict=True))
    if len(pieces) == 1:
        return piece(*pieces[0])
    return torch.stack([checkpoint(piece, *part, use_reentrant=False) for part in pieces]).sum()


def word_loss(features: torch.Tensor, words: torch.Tensor, embeddings: torch.Tensor, sharpness: float) -> torch.Tensor:
    """Image tokens should look like the words for what they show.

    Args:
        features: (N, H) image tokens as the language model gets them.
        words: (N, K) ids of the words seen at each token, at least one, padded with -100.
        embeddings: (V, H) word embeddings of the language model.
        sharpness: factor on the cosine similarities before the softmax over the vocabulary.

    Returns:
        Sum over the tokens of the cross entropy against the uniform distribution over the token's words.
    """
    present = words != IGNORE_INDEX
    similarity = F.normalize(features.float(), dim=-1) @ F.normalize(embeddings.float(), dim=-1).T
    log_probabilities = (sharpness * similarity).log_softmax(dim=-1).gather(1, words.clamp(min=0))
    return -(log_probabilities.masked_fill(~present, 0.0).sum(dim=-1) / present.sum(dim=-1)).sum()


class BoxReader(nn.Linear):
    """Reads the four numbers of a box off a hidden state, as 4 x 101 logits; used for alignment losses only.

    Its targets are soft, with a deviation of 2/100 of the image: hard ones take far longer to be learnt.
    """

    DEVIATION = 2.0

    def __init__(self, hidden_size: int):
        super().__init__(hidden_size, 4 * NUMBERS)

    def loss(self, hidden: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Sum over (N, H) hidden states of the mean cross entropy of the numbers of their (N, 4) boxes."""
        hidden = F.rms_norm(hidden.float(), hidden.shape[-1:])
        log_probabilities = self(hidden).float().unflatten(-1, (4, NUMBERS)).log_softmax(dim=-1)
        return -(soft_numbers(boxes, self.DEVIATION) * log_probabilities).sum(dim=-1).mean(dim=-1).sum()
