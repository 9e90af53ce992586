"""Two linear layers with a GELU between them over joined neighbours, as in LLaVA-1.5."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from skyeye.config.schema import MLPProjectorConfig
from skyeye.models.projectors.linear import LinearProjector


class MLPProjector(LinearProjector):
    """:class:`LinearProjector`, then GELU and a second layer of the language model's width."""

    settings = MLPProjectorConfig

    def __init__(self, settings: MLPProjectorConfig, widths: Sequence[int], hidden_size: int):
        super().__init__(settings, widths, hidden_size)
        self.out = nn.Sequential(nn.GELU(), nn.Linear(hidden_size, hidden_size))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(super().forward(tokens))
