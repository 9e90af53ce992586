"""Keys and values of generation with shared prefixes: a prefix is stored once, each row has a small buffer of its own.

A *row* is a prompt that is being answered: what follows its prefix, then its answer. All rows of a forward pass stand
in one line of tokens (1, T): rows that go on bring one token each, rows that enter bring the rest of their prompt, and
before the first rows of a new prefix come its own tokens. :class:`ForwardLayout` computes such a line on any device.
:class:`StaticLayout` computes lines without entering rows by operations of fixed shapes, as compiled graphs on CUDA
want them; it is tested on CPUs only.

The language model hands a step to its attention by the keyword ``shared_keys``: models of transformers that let their
attention be chosen pass on keywords they do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from torch.nn import functional as F

from skyeye.models.prefix_attention import Branches, attend_branches

#: Rows that look at more prefixes than this meet a copy of them in one product for all, if the copies of a layer's keys
#: have at most so many bytes: with large models reading them once more would take longer than a product for each.
FEW_PREFIXES = 3
COPIED_BYTES = 4 << 20


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


@dataclass(frozen=True)
class Entering:
    """Rows of one prefix that enter: their tokens stand together, behind those of the prefix if it is new."""

    place: int  # of the prefix in its buffer
    prefix_tokens: int
    is_new: bool
    lengths: list[int]  # tokens of each row


class ForwardLayout:
    """The layout of one forward pass: rows 0 .. n-1 go on, further rows enter.

    Args:
        keys: where everything is stored; it has room.
        prefix_of_row: place and tokens of the prefix of each row that goes on.
        lengths: tokens that each of these rows has stored.
        entering: what follows in the line; its rows get the numbers from n on.
    """

    def __init__(
        self,
        keys: SharedKeys,
        prefix_of_row: Sequence[tuple[int, int]],
        lengths: Sequence[int],
        entering: Sequence[Entering],
        device: torch.device,
    ):
        self.keys, self.entering, self.going_on = keys, entering, len(lengths)
        self.layers: set[int] = set()
        self.lengths = torch.tensor(lengths, dtype=torch.long, device=device)
        self.longest = max(lengths, default=0) + 1
        rows_of: dict[tuple[int, int], list[int]] = {}
        for row, prefix in enumerate(prefix_of_row):
            rows_of.setdefault(prefix, []).append(row)
        self.by_prefix = [(*prefix, torch.tensor(rows, device=device)) for prefix, rows in rows_of.items()]
        self.longest_prefix = max((tokens for _, tokens in prefix_of_row), default=0)
        of_rows = torch.tensor(prefix_of_row, dtype=torch.long).view(-1, 2).to(device)
        self.places = of_rows[:, 0]
        self.beyond = torch.arange(self.longest_prefix, device=device) >= of_rows[:, 1:]  # (rows, tokens)
        counts = [length for group in entering for length in group.lengths]
        self.branches = [Branches.of(group.lengths, device) for group in entering]
        rows = torch.arange(len(counts)) + self.going_on
        self.entering_rows = rows.repeat_interleave(torch.tensor(counts, dtype=torch.long)).to(device)
        self.entering_places = torch.cat([torch.arange(0), *map(torch.arange, counts)]).to(device)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """(1, heads, T, width) queries and (1, key heads, T, width) new keys and values -> (1, heads, T, width)."""
        self.layers.add(layer)
        query, key, value = query[0], key[0], value[0]
        prefixes, rows = self.keys.of_layer(layer, key, value)
        pieces, start = [], self.going_on
        if start:
            pieces.append(self._go_on(query[:, :start] * scaling, key[:, :start], value[:, :start], prefixes, rows))
        own: list[tuple[int, int]] = []
        for group, branches in zip(self.entering, self.branches, strict=True):
            if group.is_new and group.prefix_tokens:
                span = slice(start, start + group.prefix_tokens)
                for store, x in zip(prefixes, (key, value), strict=True):
                    store[:, group.place, : group.prefix_tokens] = x[:, span]
                q, k, v = query[:, span], *_for_all_heads(query, key[:, span], value[:, span])
                mixed = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=scaling)
                pieces.append(mixed[0])
                start = span.stop
            span = slice(start, start + sum(group.lengths))
            start = span.stop
            own.append((span.start, span.stop))
            prefix = (store[:, group.place, : group.prefix_tokens] for store in prefixes)
            k, v, prefix_k, prefix_v = _for_all_heads(query, key[:, span], value[:, span], *prefix)
            pieces.append(attend_branches(query[:, span], k, v, prefix_k, prefix_v, branches, scaling))
        if own:
            for store, x in zip(rows, (key, value), strict=True):
                new = torch.cat([x[:, first:last] for first, last in own], dim=1).transpose(0, 1)
                store[self.entering_rows, :, self.entering_places] = new
        return torch.cat(pieces, dim=1)[None]

    def _go_on(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        prefixes: list[torch.Tensor],
        rows: list[torch.Tensor],
    ) -> torch.Tensor:
        """One token of every row, which meets the keys of its prefix and its own."""
        count = q.shape[1]
        q = q.view(k.shape[0], -1, count, q.shape[-1])  # key heads, query heads of each, rows, width
        own_k, own_v = _append(rows, k, v, self.lengths)
        own = _own_scores(q, own_k[:count, :, : self.longest], self.lengths)
        copied = q.shape[0] * count * self.longest_prefix * q.shape[-1] * q.element_size()
        apart = len(self.by_prefix) <= FEW_PREFIXES or copied > COPIED_BYTES
        seen = self._by_prefix_scores(q, prefixes[0]) if apart else self._copied_scores(q, prefixes[0])
        weights = torch.cat([seen, own], dim=-1).softmax(dim=-1, dtype=torch.float32).to(v.dtype)
        mixed = _own_values(weights[..., self.longest_prefix :], own_v[:count, :, : self.longest])
        weights = weights[..., : self.longest_prefix]
        if apart:
            self._add_by_prefix_values(mixed, weights, prefixes[1])
        else:
            mixed = mixed + _by_row(weights, prefixes[1][:, self.places, : self.longest_prefix])
        return mixed.flatten(0, 1)

    def _by_prefix_scores(self, q: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """All rows of a prefix meet its keys in one product: (key heads, heads of each, rows, tokens)."""
        seen = q.new_full((*q.shape[:3], self.longest_prefix), float("-inf"))
        for place, tokens, mine in self.by_prefix:
            asked = q[:, :, mine]
            product = asked.flatten(1, 2) @ keys[:, place, :tokens].transpose(1, 2)
            seen[:, :, mine, :tokens] = product.view(*asked.shape[:3], tokens)
        return seen

    def _add_by_prefix_values(self, mixed: torch.Tensor, weights: torch.Tensor, values: torch.Tensor) -> None:
        for place, tokens, mine in self.by_prefix:
            given = weights[:, :, mine, :tokens]
            product = given.flatten(1, 2) @ values[:, place, :tokens]
            mixed[:, :, mine] += product.view(*given.shape[:3], product.shape[-1])

    def _copied_scores(self, q: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """The same by one product over a copy of each row's prefix: where these are many and small."""
        copies = keys[:, self.places, : self.longest_prefix].transpose(2, 3)
        return _by_row(q, copies).masked_fill(self.beyond, float("-inf"))


class StaticLayout:
    """One token of every row by operations whose shapes depend on the capacity alone.

    All rows are multiplied with all prefixes and what is not theirs is masked: with the few prefixes that questions
    share, reading the keys takes longer than that.

    Args:
        lengths: (rows,) tokens that each row has stored; 0 where there is no row.
        places, tokens: (rows,) place and tokens of the prefix of each row; -1 for the place where there is no row.
    """

    def __init__(self, keys: SharedKeys, lengths: torch.Tensor, places: torch.Tensor, tokens: torch.Tensor):
        self.keys, self.lengths = keys, lengths
        mine = torch.arange(keys.capacity.prefixes, device=places.device) == places[:, None]
        stored = torch.arange(keys.capacity.prefix_tokens, device=places.device) < tokens[:, None]
        self.hidden = ~(mine[:, :, None] & stored[:, None]).flatten(1)  # (rows, prefixes * tokens): not to be looked at

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """As :meth:`ForwardLayout.attend`, for a line of as many tokens as there is room for rows."""
        k, v = key[0], value[0]
        prefixes, rows = self.keys.of_layer(layer, k, v)
        q = (query[0] * scaling).view(k.shape[0], -1, *query.shape[2:])
        prefix_k, prefix_v = (x.flatten(1, 2) for x in prefixes)
        own_k, own_v = _append(rows, k, v, self.lengths)
        own = _own_scores(q, own_k, self.lengths)
        seen = (q.flatten(1, 2) @ prefix_k.transpose(1, 2)).view(*q.shape[:3], prefix_k.shape[1])
        seen = seen.masked_fill(self.hidden, float("-inf"))
        weights = torch.cat([seen, own], dim=-1).softmax(dim=-1, dtype=torch.float32).to(v.dtype)
        mixed = _own_values(weights[..., seen.shape[-1] :], own_v)
        from_prefix = weights[..., : seen.shape[-1]].flatten(1, 2) @ prefix_v
        return (mixed + from_prefix.view(mixed.shape)).flatten(0, 1)[None]


def _append(
    rows: list[torch.Tensor], k: torch.Tensor, v: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Write one new key and value, (key heads, rows, width), behind those of each row."""
    numbers = torch.arange(len(lengths), device=lengths.device)
    for store, x in zip(rows, (k, v), strict=True):
        store[numbers, :, lengths] = x.transpose(0, 1)
    return rows[0], rows[1]


def _own_scores(q: torch.Tensor, own_k: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(key heads, heads of each, rows, width) x (rows, key heads, tokens, width) -> the same with tokens for width."""
    scores = (q.permute(2, 0, 1, 3) @ own_k.transpose(2, 3)).permute(1, 2, 0, 3)
    later = torch.arange(own_k.shape[2], device=q.device) > lengths[:, None]
    return scores.masked_fill(later, float("-inf"))


def _own_values(weights: torch.Tensor, own_v: torch.Tensor) -> torch.Tensor:
    """(key heads, heads of each, rows, tokens) x (rows, key heads, tokens, width) -> the same with width for tokens."""
    return (weights.permute(2, 0, 1, 3) @ own_v).permute(1, 2, 0, 3)


def _by_row(x: torch.Tensor, of_rows: torch.Tensor) -> torch.Tensor:
    """(key heads, heads of each, rows, n) x (key heads, rows, n, m) -> (key heads, heads of each, rows, m)."""
    return (x.transpose(1, 2) @ of_rows).transpose(1, 2)


def _for_all_heads(query: torch.Tensor, *keys: torch.Tensor) -> list[torch.Tensor]:
    """Keys or values (key heads, T, width) repeated for neighbouring query heads."""
    repeats = query.shape[0] // keys[0].shape[0]
    return [x.repeat_interleave(repeats, dim=0) if repeats > 1 else x for x in keys]
