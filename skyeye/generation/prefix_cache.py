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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from skyeye.generation.stored_keys import SharedKeys
from skyeye.models.prefix_attention import Branches, attend_branches

#: All rows meet the keys of their prefixes in one product over all places, unless that takes more slots for each row:
#: where one of many prefixes has many rows. Then there is a product for each prefix.
SLOTS_PER_ROW = 4


@dataclass(frozen=True)
class Entering:
    """Rows of one prefix that enter: their tokens stand together, behind those of the prefix if it is new."""

    place: int  # of the prefix in its buffer
    prefix_tokens: int
    is_new: bool
    lengths: list[int]  # tokens of each row

    @property
    def is_one_line(self) -> bool:
        """Whether every token sees all before it."""
        return self.is_new and len(self.lengths) == 1


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
        self.rows = torch.arange(len(lengths), device=device)
        self.lengths = torch.tensor(lengths, dtype=torch.long, device=device)
        self.longest = max(lengths, default=0) + 1
        rows_of: dict[tuple[int, int], list[int]] = {}
        for row, prefix in enumerate(prefix_of_row):
            rows_of.setdefault(prefix, []).append(row)
        self.slots = _Slots.of(rows_of, keys.capacity.prefixes, device)
        one_by_one = {} if self.slots else rows_of
        self.by_prefix = [(*prefix, torch.tensor(rows, device=device)) for prefix, rows in one_by_one.items()]
        self.longest_prefix = max((tokens for _, tokens in prefix_of_row), default=0)
        of_rows = torch.tensor([tokens for _, tokens in prefix_of_row], dtype=torch.long).view(-1, 1).to(device)
        beyond = torch.arange(self.longest_prefix, device=device) >= of_rows
        later = torch.arange(self.longest, device=device) > self.lengths[:, None]
        # (rows, tokens of the prefix and own ones): not to be looked at
        self.hidden = torch.cat([beyond, later], dim=1)
        counts = [length for group in entering for length in group.lengths]
        self.branches = [None if group.is_one_line else Branches.of(group.lengths, device) for group in entering]
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
            behind = start + group.prefix_tokens * group.is_new
            end = behind + sum(group.lengths)
            own.append((behind, end))
            if group.is_new:
                for store, x in zip(prefixes, (key, value), strict=True):
                    store[:, group.place, : group.prefix_tokens] = x[:, start:behind]
                alone = slice(start, end if branches is None else behind)
                if alone.stop > start:
                    q, k, v = query[:, alone], *_for_all_heads(query, key[:, alone], value[:, alone])
                    mixed = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=scaling)
                    pieces.append(mixed[0])
            if branches is not None:
                span = slice(behind, end)
                prefix = (store[:, group.place, : group.prefix_tokens] for store in prefixes)
                k, v, prefix_k, prefix_v = _for_all_heads(query, key[:, span], value[:, span], *prefix)
                pieces.append(attend_branches(query[:, span], k, v, prefix_k, prefix_v, branches, scaling))
            start = end
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
        own_k, own_v = (x[:count, :, : self.longest] for x in _append(rows, k, v, self.rows, self.lengths))
        scores = torch.cat([self._meet(q, prefixes[0]), _own_scores(q, own_k)], dim=-1)
        scores = scores.masked_fill(self.hidden, float("-inf"))
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
        to_prefix, to_own = weights.split([self.longest_prefix, self.longest], dim=-1)
        return (_own_values(to_own, own_v) + self._gather(to_prefix, prefixes[1])).flatten(0, 1)

    def _meet(self, q: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Scores (key heads, heads of each, rows, tokens) with the prefix of each row; beyond its end anything."""
        if self.slots is not None:
            return self.slots.back(self.slots.lay(q) @ keys[:, :, : self.longest_prefix].transpose(2, 3))
        seen = q.new_zeros(*q.shape[:3], self.longest_prefix)
        for place, tokens, mine in self.by_prefix:
            asked = q[:, :, mine]
            product = asked.flatten(1, 2) @ keys[:, place, :tokens].transpose(1, 2)
            seen[:, :, mine, :tokens] = product.view(*asked.shape[:3], tokens)
        return seen

    def _gather(self, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(key heads, heads of each, rows, tokens) weights of the prefix of each row -> the same with width."""
        if self.slots is not None:
            return self.slots.back(self.slots.lay(weights) @ values[:, :, : self.longest_prefix])
        mixed = weights.new_empty(*weights.shape[:3], values.shape[-1])
        for place, tokens, mine in self.by_prefix:
            given = weights[:, :, mine, :tokens]
            product = given.flatten(1, 2) @ values[:, place, :tokens]
            mixed[:, :, mine] = product.view(*given.shape[:3], product.shape[-1])
        return mixed


@dataclass(frozen=True)
class _Slots:
    """Rows laid out by the places of their prefixes: each place has as many slots as the one with most rows needs.

    Attributes:
        places, each: of prefixes, and slots of each of them.
        row: (slots,) the row in each slot; in an empty one any.
        slot: (rows,) the slot of each row.
    """

    places: int
    each: int
    row: torch.Tensor
    slot: torch.Tensor

    @classmethod
    def of(cls, rows_of: Mapping[tuple[int, int], Sequence[int]], places: int, device: torch.device) -> _Slots | None:
        """None: there would be too many.

        Args:
            rows_of: the rows of each place and its tokens.
        """
        rows = sum(map(len, rows_of.values()))
        each = max(map(len, rows_of.values()), default=0)
        if not rows or places * each > SLOTS_PER_ROW * rows:
            return None
        slots = [(place * each + n, row) for (place, _), mine in rows_of.items() for n, row in enumerate(mine)]
        row, slot = [0] * (places * each), [0] * rows
        for at, number in slots:
            row[at], slot[number] = number, at
        return cls(places, each, torch.tensor(row, device=device), torch.tensor(slot, device=device))

    def lay(self, x: torch.Tensor) -> torch.Tensor:
        """(key heads, heads of each, rows, n) -> (key heads, places, slots and heads of each, n)."""
        laid = x.transpose(1, 2).index_select(1, self.row)
        return laid.view(x.shape[0], self.places, self.each * x.shape[1], x.shape[-1])

    def back(self, x: torch.Tensor) -> torch.Tensor:
        """The other way."""
        by_slot = x.view(x.shape[0], len(self.row), x.shape[2] // self.each, x.shape[-1])
        return by_slot.index_select(1, self.slot).transpose(1, 2)


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
        self.rows = torch.arange(len(lengths), device=places.device)
        later = torch.arange(keys.capacity.row_tokens, device=places.device) > lengths[:, None]
        # (rows, prefixes * tokens and own ones): not to be looked at
        self.hidden = torch.cat([~(mine[:, :, None] & stored[:, None]).flatten(1), later], dim=1)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """As :meth:`ForwardLayout.attend`, for a line of as many tokens as there is room for rows."""
        k, v = key[0], value[0]
        prefixes, rows = self.keys.of_layer(layer, k, v)
        q = (query[0] * scaling).view(k.shape[0], -1, *query.shape[2:])
        prefix_k, prefix_v = (x.flatten(1, 2) for x in prefixes)
        own_k, own_v = _append(rows, k, v, self.rows, self.lengths)
        seen = (q.flatten(1, 2) @ prefix_k.transpose(1, 2)).view(*q.shape[:3], prefix_k.shape[1])
        scores = torch.cat([seen, _own_scores(q, own_k)], dim=-1).masked_fill(self.hidden, float("-inf"))
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
        mixed = _own_values(weights[..., seen.shape[-1] :], own_v)
        from_prefix = weights[..., : seen.shape[-1]].flatten(1, 2) @ prefix_v
        return (mixed + from_prefix.view(mixed.shape)).flatten(0, 1)[None]


def _append(
    stores: list[torch.Tensor], k: torch.Tensor, v: torch.Tensor, rows: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Write one new key and value, (key heads, rows, width), behind those of each row."""
    for store, x in zip(stores, (k, v), strict=True):
        store[rows, :, lengths] = x.transpose(0, 1)
    return stores[0], stores[1]


def _own_scores(q: torch.Tensor, own_k: torch.Tensor) -> torch.Tensor:
    """(key heads, heads of each, rows, width) x (rows, key heads, tokens, width) -> the same with tokens for width."""
    return (q.permute(2, 0, 1, 3) @ own_k.transpose(2, 3)).permute(1, 2, 0, 3)


def _own_values(weights: torch.Tensor, own_v: torch.Tensor) -> torch.Tensor:
    """(key heads, heads of each, rows, tokens) x (rows, key heads, tokens, width) -> the same with width for tokens."""
    return (weights.permute(2, 0, 1, 3) @ own_v).permute(1, 2, 0, 3)


def _for_all_heads(query: torch.Tensor, *keys: torch.Tensor) -> list[torch.Tensor]:
    """Keys or values (key heads, T, width) repeated for neighbouring query heads."""
    repeats = query.shape[0] // keys[0].shape[0]
    return [x.repeat_interleave(repeats, dim=0) if repeats > 1 else x for x in keys]
