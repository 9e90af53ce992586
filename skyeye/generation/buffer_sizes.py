"""How large the buffers of keys and values are made: larger than needed, so that they are seldom copied."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from skyeye.generation.stored_keys import Capacity
from skyeye.models.modeling import SkyEyeForConditionalGeneration

#: Buffers grow in steps of this many tokens.
GRAIN = 32
#: What is compiled is compiled anew for every size of the buffers: there they have this many tokens, or twice, four
#: times as many, and so on, and never fewer than an earlier task of the same model needed.
SMALLEST_STATIC = 64
_STATIC_SIZES: WeakKeyDictionary[SkyEyeForConditionalGeneration, Capacity] = WeakKeyDictionary()


def grown(have: Capacity, need: Capacity) -> Capacity:
    """Room for more prefixes and rows than are needed, twice as many as before, and for some more tokens."""
    return Capacity(
        have.prefixes if need.prefixes <= have.prefixes else max(need.prefixes, 2 * have.prefixes),
        -(-need.prefix_tokens // GRAIN) * GRAIN,
        have.rows if need.rows <= have.rows else max(need.rows, 2 * have.rows),
        -(-need.row_tokens // GRAIN) * GRAIN,
    )


def static_size(model: SkyEyeForConditionalGeneration, rows: int, need: Capacity) -> Capacity:
    """One of few sizes that has room; at least that of earlier tasks of the model."""
    few = -(-rows // 4)  # prefixes: many questions about few images, or every row its own
    size = Capacity(
        few if need.prefixes <= few else max(rows + 1, need.prefixes),
        _power_of_two(need.prefix_tokens),
        rows,
        _power_of_two(need.row_tokens),
    )
    _STATIC_SIZES[model] = size.covering(_STATIC_SIZES.get(model, size))
    return _STATIC_SIZES[model]


def _power_of_two(tokens: int) -> int:
    return max(SMALLEST_STATIC, 1 << (tokens - 1).bit_length())
