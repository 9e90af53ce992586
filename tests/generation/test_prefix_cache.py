"""Attention of one forward pass against softmax over all tokens that each row sees, row by row."""

from __future__ import annotations

import pytest
import torch

from skyeye.generation import prefix_cache
from skyeye.generation.prefix_cache import Entering, ForwardLayout
from skyeye.generation.stored_keys import Capacity, SharedKeys

HEADS, KEY_HEADS, WIDTH, SCALING = 4, 2, 8, 0.3


def plain(q: torch.Tensor, *seen: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """(heads, width) of one token that sees keys and values (key heads, tokens, width), one behind the other."""
    pairs = (torch.cat(x, dim=1) for x in zip(*seen, strict=True))
    k, v = (x.repeat_interleave(HEADS // KEY_HEADS, dim=0) for x in pairs)
    return ((q[:, None] @ k.transpose(1, 2)) * SCALING).softmax(dim=-1).matmul(v)[:, 0]


def of_entering(group: Entering, at: int, line, prefixes) -> list[torch.Tensor]:
    """What the tokens of a group get that stand in the line (queries, keys, values) from a place on."""
    q, k, v = line
    found, before = [], prefixes[group.place - 1] if not group.is_new else (k[:, :0], v[:, :0])
    if group.is_new:
        before = k[:, at : at + group.prefix_tokens], v[:, at : at + group.prefix_tokens]
        found = [plain(q[:, at + n], tuple(x[:, : n + 1] for x in before)) for n in range(group.prefix_tokens)]
        at += group.prefix_tokens
    for length in group.lengths:
        for end in range(at + 1, at + length + 1):
            found.append(plain(q[:, end - 1], before, (k[:, at:end], v[:, at:end])))
        at += length
    return found


@pytest.mark.parametrize("slots_per_row", [0, 100], ids=["a product for each prefix", "one for all"])
@pytest.mark.parametrize("seed", range(4))
def test_rows_see_their_prefix_what_they_said_and_nothing_else(monkeypatch, seed, slots_per_row):
    monkeypatch.setattr(prefix_cache, "SLOTS_PER_ROW", slots_per_row)
    draw = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=draw))

    def tokens(count: int, heads: int = KEY_HEADS) -> torch.Tensor:
        return torch.randn(heads, count, WIDTH, generator=draw)

    prefixes = [(tokens(n), tokens(n)) for n in (number(0, 7) for _ in range(5))]  # places 1, 2, ...; 0 is empty
    said = [(tokens(n), tokens(n)) for n in (number(0, 6) for _ in range(6))]
    of_row = [number(0, 5) for _ in said]
    keys = SharedKeys()
    keys.reserve(Capacity(8, 7, 12, 12))
    (prefix_k, prefix_v), (row_k, row_v) = keys.of_layer(0, tokens(1), tokens(1))
    for stored in (prefix_k, prefix_v, row_k, row_v):
        stored.fill_(3.0)  # what was there before
    for place, (k, v) in enumerate(prefixes, 1):
        prefix_k[:, place, : k.shape[1]], prefix_v[:, place, : v.shape[1]] = k, v
    for row, (k, v) in enumerate(said):
        row_k[row, :, : k.shape[1]], row_v[row, :, : v.shape[1]] = k, v
    entering = [
        Entering(6, 4, True, [3]),
        Entering(7, 2, True, [2, 4]),
        Entering(3, prefixes[2][0].shape[1], False, [2]),
    ]
    step = ForwardLayout(
        keys,
        [(prefix + 1, prefixes[prefix][0].shape[1]) for prefix in of_row],
        [k.shape[1] for k, _ in said],
        entering,
        torch.device("cpu"),
    )
    line = len(said) + (4 + 3) + (2 + 2 + 4) + 2
    q, k, v = tokens(line, HEADS), tokens(line), tokens(line)
    found = step.attend(0, q[None], k[None], v[None], SCALING)[0]
    expected = [
        plain(q[:, row], prefixes[prefix], said[row], (k[:, row : row + 1], v[:, row : row + 1]))
        for row, prefix in enumerate(of_row)
    ]
    for group in entering:
        expected += of_entering(group, len(expected), (q, k, v), prefixes)
    torch.testing.assert_close(found, torch.stack(expected, dim=1), rtol=1e-4, atol=1e-5)
    for row, (own_k, _) in enumerate(said):  # the new token is stored behind the others
        assert torch.equal(row_k[row, :, own_k.shape[1]], k[:, row])
    assert torch.equal(row_k[6, :, :3], k[:, 10:13]) and torch.equal(prefix_v[:, 7, :2], v[:, 13:15])
