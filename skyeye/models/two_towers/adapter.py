"""PE-RSITR's adapter: one bottleneck beside the MLPs of all blocks of both towers, with the same weights everywhere."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class SharedAdapter(nn.Module):
    """Down, ReLU, dropout, up. ``up`` starts at zero, so that training begins where the towers are.

    The two towers may differ in width: ``down`` and ``up`` act on as many features as the wider tower has, and a
    narrower one uses the first of them.

    Args:
        width: of the wider tower.
    """

    def __init__(self, width: int, bottleneck: int, dropout: float):
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width or fewer) -> the same shape."""
        width = x.shape[-1]
        inner = nn.functional.linear(x, self.down.weight[:, :width], self.down.bias)
        inner = self.dropout(torch.relu(inner))
        return nn.functional.linear(inner, self.up.weight[:width], self.up.bias[:width])


def put_beside(adapter: SharedAdapter, blocks: Iterable[nn.Module]) -> None:
    """Add what the adapter makes of it to what the MLP of each block makes of its input."""
    for block in blocks:
        block.mlp.register_forward_hook(lambda mlp, inputs, output: output + adapter(inputs[0]))
