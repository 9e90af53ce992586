"""InfoNCE between images and captions over the global batch of a step.

Every process compares its own images with the captions of all processes, and its own captions with all images. What
the others hold is gathered with its gradient: the losses of the processes add up to the loss of one process that holds
the whole batch, and so do their gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed
from torch.nn import functional


def info_nce(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, paired: torch.Tensor) -> torch.Tensor:
    """The share of this process in the symmetric cross entropy over all pairs of all processes, in float32.

    Args:
        images, texts: (N, D) of length 1; row i of one belongs to row i of the other. N may differ between processes.
        scale: the factor on cosines.
        paired: (N,), which rows take part.
    """
    images, texts = images.float()[paired], texts.float()[paired]
    all_images, first = gather_rows(images)
    all_texts, _ = gather_rows(texts)
    if not len(all_images):
        return 0.0 * (images.sum() + texts.sum() + scale)
    return compared(images, texts, all_images, all_texts, scale, first) / (2 * len(all_images))


def compared(
    images: torch.Tensor,
    texts: torch.Tensor,
    all_images: torch.Tensor,
    all_texts: torch.Tensor,
    scale: torch.Tensor,
    first: int,
) -> torch.Tensor:
    """The cross entropy of own rows (N, D) with those of all processes, both ways, summed.

    Args:
        first: where the own ones begin among all.
    """
    own = torch.arange(first, first + len(images), device=images.device)
    by_image = functional.cross_entropy(scale * images @ all_texts.T, own, reduction="sum")
    by_text = functional.cross_entropy(scale * texts @ all_images.T, own, reduction="sum")
    return by_image + by_text


def gather_rows(rows: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The rows (N, D) of all processes one below the other, with their gradient, and where those of this one begin."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return rows, 0
    counts = [torch.zeros((), dtype=torch.long, device=rows.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, torch.tensor(len(rows), device=rows.device))
    lengths = [int(count) for count in counts]
    padded = functional.pad(rows, (0, 0, 0, max(lengths) - len(rows)))
    gathered = _Gather.apply(padded).unflatten(0, (len(lengths), -1))
    whole = torch.cat([part[:length] for part, length in zip(gathered, lengths, strict=True)])
    return whole, sum(lengths[: distributed.get_rank()])


class _Gather(torch.autograd.Function):
    """(N, D) of every process -> (processes * N, D). Backward, each gets what all of them want of its rows."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total.unflatten(0, (distributed.get_world_size(), -1))[distributed.get_rank()]
