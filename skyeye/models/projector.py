"""Alignment layer: joins neighbouring vision tokens and maps them into the language model's embedding space."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn


class Projector(nn.Module):
    """(N, n, vision_width) vision tokens -> (N, n / join_tokens, hidden_size) embeddings.

    ``join_tokens`` neighbours in raster order are laid end to end (the reference: 4), then mapped by one linear layer
    (``linear``, the reference) or by two with a GELU between them (``mlp``).
    """

    def __init__(self, vision_width: int, hidden_size: int, type: Literal["linear", "mlp"], join_tokens: int):
        super().__init__()
        self.join_tokens = join_tokens
        self.linear = nn.Linear(vision_width * join_tokens, hidden_size)
        self.out = nn.Sequential(nn.GELU(), nn.Linear(hidden_size, hidden_size)) if type == "mlp" else nn.Identity()

    def join(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N, n, w) -> (N, n / k, w * k): k consecutive tokens side by side. n must be a multiple of k."""
        count, length, width = tokens.shape
        return tokens.reshape(count, length // self.join_tokens, width * self.join_tokens)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(self.linear(self.join(tokens)))
