"""Buffers for the keys and values of prefixes, stored once, and of the rows that look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch


@dataclass
class Capacity:
    """How many prefixes and rows there is room for, and how many tokens each of them may have."""

    prefixes: int = 0
    prefix_tokens: int = 0
    rows: int = 0
    row_tokens: int = 0

    def covering(self, other: Capacity) -> Capacity:
        """The smallest that has room for both."""
        return Capacity(*map(max, astuple(self), astuple(other)))


class SharedKeys:
    """Keys and values of every layer.

    Those of prefixes are (key heads, prefixes, tokens, width), those of rows (rows, key heads, tokens, width).
    Memory is taken when a layer is first computed, and grows with :meth:`reserve`.
    """

    def __init__(self) -> None:
        self.capacity = Capacity()
        self.prefixes: dict[int, list[torch.Tensor]] = {}  # layer -> keys, values
        self.rows: dict[int, list[torch.Tensor]] = {}

    @property
    def bytes(self) -> int:
        """Size of all buffers."""
        return sum(x.nbytes for kind in (self.prefixes, self.rows) for pair in kind.values() for x in pair)

    def reserve(self, wanted: Capacity) -> None:
        """Make room for at least this much; what is stored stays."""
        self.capacity = self.capacity.covering(wanted)
        for layer in self.prefixes:
            self.prefixes[layer] = [_grown(x, self._prefix_shape(x.shape[0], x)) for x in self.prefixes[layer]]
            self.rows[layer] = [_grown(x, self._row_shape(x.shape[1], x)) for x in self.rows[layer]]

    def of_layer(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The buffers of a layer, (prefix keys, values) and (row keys, values), for heads like those of ``key``."""
        if layer not in self.prefixes:
            heads = key.shape[0]
            self.prefixes[layer] = [_empty(x, self._prefix_shape(heads, x)) for x in (key, value)]
            self.rows[layer] = [_empty(x, self._row_shape(heads, x)) for x in (key, value)]
        return self.prefixes[layer], self.rows[layer]

    def move_rows(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy rows to the places of others that have left."""
        buffers = [x for pair in self.rows.values() for x in pair]
        if sources and buffers:
            device = buffers[0].device
            old, new = torch.tensor(sources, device=device), torch.tensor(targets, device=device)
            for x in buffers:
                x.index_copy_(0, new, x.index_select(0, old))

    def _prefix_shape(self, heads: int, like: torch.Tensor) -> tuple[int, ...]:
        return heads, self.capacity.prefixes, self.capacity.prefix_tokens, like.shape[-1]

    def _row_shape(self, heads: int, like: torch.Tensor) -> tuple[int, ...]:
        return self.capacity.rows, heads, self.capacity.row_tokens, like.shape[-1]


def _empty(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    new = like.new_zeros(shape)  # not uninitialised: a masked NaN would still be one
    if new.is_cuda:
        # CUDA graphs refuse to write into inputs that may move; that the next task's lie elsewhere is no other graph
        torch._dynamo.mark_static_address(new, guard=False)
    return new


def _grown(old: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    if old.shape == shape:
        return old
    new = _empty(old, shape)
    new[tuple(slice(size) for size in old.shape)] = old
    return new
