"""One linear layer over joined neighbours: the reference's ``llama_proj``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from skyeye.config.schema import LinearProjectorConfig
from skyeye.errors import SkyEyeError
from skyeye.models.projectors.base import Projector


class LinearProjector(Projector):
    """``join_tokens`` neighbours in raster order are laid end to end (the reference: 4) and mapped by one layer."""

    settings = LinearProjectorConfig

    def __init__(self, settings: LinearProjectorConfig, widths: Sequence[int], hidden_size: int):
        super().__init__(settings, widths, hidden_size)
        self.join_tokens = settings.join_tokens
        self.linear = nn.Linear(sum(widths) * settings.join_tokens, hidden_size)

    @classmethod
    def tokens_per_image(cls, settings: LinearProjectorConfig, grid: tuple[int, int]) -> int:
        tokens, joined = grid[0] * grid[1], settings.join_tokens
        if tokens % joined:
            raise SkyEyeError(
                f"{tokens} vision tokens cannot be joined {joined} at a time",
                where="model.projector.join_tokens",
                remedy=f"choose a divisor of {tokens}",
            )
        return tokens // joined

    @classmethod
    def token_grid(cls, settings: LinearProjectorConfig, grid: tuple[int, int]) -> tuple[int, int]:
        """Joining makes the cells ``join_tokens`` wide."""
        (rows, columns), joined = grid, settings.join_tokens
        if rows != columns or columns % joined:
            raise SkyEyeError(
                f"{rows * columns} vision tokens joined {joined} at a time do not form a grid",
                where="model.projector.join_tokens",
            )
        return rows, columns // joined

    def join(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N, n, w) -> (N, n / k, w * k): k consecutive tokens side by side. n must be a multiple of k."""
        count, length, width = tokens.shape
        return tokens.reshape(count, length // self.join_tokens, width * self.join_tokens)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.linear(self.join(tokens))
