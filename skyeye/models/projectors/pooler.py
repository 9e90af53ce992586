"""Attention poolers over several levels: LHRS-Bot's, and that of LHRS-Bot-Nova.

A learned table of queries is divided over the levels; the same layers serve all levels. Names of tensors are those of
the originals.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import nn

from skyeye.config.schema import NovaPoolerProjectorConfig, PoolerProjectorConfig
from skyeye.errors import SkyEyeError
from skyeye.models.projectors.base import Projector
from skyeye.models.projectors.experts import Experts

_EPS = 1e-5


class PoolerLayer(nn.Module):
    """Cross-attention from queries to tokens, then an MLP; both with a norm before them."""

    def __init__(self, width: int, heads: int, mlp: nn.Module):
        super().__init__()
        self.ln_1, self.ln_1_kv, self.ln_2 = (nn.LayerNorm(width, eps=_EPS) for _ in range(3))
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = mlp

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor | None = None) -> torch.Tensor:
        """(N, q, width) queries, (N, n, width) keys and values (None: the keys) -> (N, q, width)."""
        keys = self.ln_1_kv(keys)
        values = keys if values is None else self.ln_1_kv(values)
        queries = queries + self.attn(self.ln_1(queries), keys, values, need_weights=False)[0]
        return queries + self.mlp(self.ln_2(queries))


class DenseMLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, ratio * width), nn.Linear(ratio * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.c_proj(nn.functional.gelu(self.c_fc(tokens)))


class PoolerProjector(Projector):
    """LHRS-Bot's pooler: each level's queries look at themselves as they began and at the level's tokens."""

    settings = PoolerProjectorConfig
    reads_levels = True

    def __init__(
        self,
        settings: PoolerProjectorConfig | NovaPoolerProjectorConfig,
        widths: Sequence[int],
        hidden_size: int,
    ):
        super().__init__(settings, widths, hidden_size)
        _check(settings.queries, settings.heads, widths)
        self.queries, width = list(settings.queries), widths[0]
        self.query = nn.Parameter(torch.randn(1, sum(self.queries), width) * 0.02)
        self.layers = nn.ModuleList(
            PoolerLayer(width, settings.heads, self._mlp(settings, width)) for _ in range(settings.layers)
        )
        self.out_proj = nn.Linear(width, hidden_size)

    @classmethod
    def tokens_per_image(
        cls, settings: PoolerProjectorConfig | NovaPoolerProjectorConfig, grid: tuple[int, int]
    ) -> int:
        return sum(settings.queries)

    def forward(self, levels: list[torch.Tensor]) -> torch.Tensor:
        pooled = []
        for start, tokens in zip(self.query.split(self.queries, dim=1), levels, strict=True):
            queries = start = start.expand(tokens.shape[0], -1, -1)
            keys = torch.cat([start, tokens], dim=1)
            for layer in self.layers:
                queries = layer(queries, keys)
            pooled.append(queries)
        return self.out_proj(torch.cat(pooled, dim=1))

    @staticmethod
    def _mlp(settings: PoolerProjectorConfig | NovaPoolerProjectorConfig, width: int) -> nn.Module:
        return DenseMLP(width, settings.mlp_ratio)


class NovaPoolerProjector(PoolerProjector):
    """LHRS-Bot-Nova's pooler: queries look at the level's tokens alone, whose places are told by sines and cosines in
    the keys; norms before the layers and behind them; from its second stage on experts in the place of the MLP."""

    settings = NovaPoolerProjectorConfig

    def __init__(self, settings: NovaPoolerProjectorConfig, widths: Sequence[int], hidden_size: int):
        super().__init__(settings, widths, hidden_size)
        width = widths[0]
        self.layernorm_query, self.layernorm_kv, self.layernorm_post = (nn.LayerNorm(width, eps=_EPS) for _ in range(3))

    def forward(self, levels: list[torch.Tensor]) -> torch.Tensor:
        pooled = []
        for start, tokens in zip(self.query.split(self.queries, dim=1), levels, strict=True):
            queries = self.layernorm_query(start).expand(tokens.shape[0], -1, -1)
            values = self.layernorm_kv(tokens)
            side = round(tokens.shape[1] ** 0.5)
            places = sine_positions(side, tokens.shape[2]).to(values)
            for layer in self.layers:
                queries = layer(queries, values + places, values)
            pooled.append(queries)
        return self.out_proj(self.layernorm_post(torch.cat(pooled, dim=1)))

    @staticmethod
    def _mlp(settings: PoolerProjectorConfig | NovaPoolerProjectorConfig, width: int) -> nn.Module:
        experts = getattr(settings, "experts", 0)
        if not experts:
            return DenseMLP(width, settings.mlp_ratio)
        return Experts(width, settings.mlp_ratio * width, experts, settings.selected)


@lru_cache(maxsize=4)
def sine_positions(side: int, width: int) -> torch.Tensor:
    """(side * side, width) sines and cosines: the first half of the features of the column, the second of the row."""
    rates = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns, rows = line[None].expand(side, -1, -1), line[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=2).flatten(0, 1).float()


def _check(queries: Sequence[int], heads: int, widths: Sequence[int]) -> None:
    if len(queries) != len(widths):
        raise SkyEyeError(
            f"queries for {len(queries)} levels, and the tower gives {len(widths)}",
            where="model.projector.queries",
            remedy="give as many numbers as model.vision.layers has levels",
        )
    if len(set(widths)) > 1 or widths[0] % heads or widths[0] % 4:
        raise SkyEyeError(
            f"levels of width {', '.join(map(str, widths))} cannot be pooled by {heads} heads",
            where="model.projector.heads",
            remedy="choose a divisor of the width, and levels of one tower",
        )
