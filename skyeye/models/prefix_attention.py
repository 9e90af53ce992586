"""Attention of the shared-prefix layout: one image, then every question about it, several images in one row.

A row (a *pack*) is a line of groups; a group is a prefix (branch 0) followed by its branches (1, 2, ...); what is left
is padding (group -1). A token sees what came before it in the prefix of its group and in its own branch, so each branch
computes what it would in a row of its own behind the prefix.

The layout reaches the language model as its attention mask, in one of three forms, and :func:`attention` carries each
of them out: a block mask for FlexAttention (CUDA), the ids themselves for :func:`split_attention`, which multiplies no
query with a key it may not see (CPU), or an additive mask for any implementation of transformers (the plain form that
tests compare the others with). All layers of transformers hand a four-dimensional mask through as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol

import torch
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from skyeye.errors import SkyEyeError

#: Name under which :func:`attention` is known to transformers.
NAME = "skyeye_shared_prefix"
#: Implementations of transformers that take an additive mask.
_ADDITIVE = ("sdpa", "eager")
#: FlexAttention skips or computes whole blocks of this many positions; packs for it are padded to a multiple.
FLEX_BLOCK = 128
#: Narrowest heads that FlexAttention's kernels take.
FLEX_WIDTH = 16

Form = Literal["additive", "split", "flex"]


class KeyStore(Protocol):
    """What answers in place of a mask while answers are generated: it has the keys and values of what came before."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """(1, heads, T, width) queries and (1, key heads, T, width) new keys and values -> (1, heads, T, width)."""
        ...


def use_prefix_attention(model: PreTrainedModel) -> None:
    """Let a language model attend by :func:`attention`, where it lets its attention be chosen; else it keeps its own.

    A choice of the configuration (``attn_implementation: eager``) is kept as well.
    """
    if getattr(model, "_supports_attention_backend", False) and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def prefix_mask(
    group_ids: torch.Tensor,
    branch_ids: torch.Tensor,
    implementation: str,
    dtype: torch.dtype,
    head_width: int = FLEX_WIDTH,
) -> torch.Tensor | BlockMask:
    """The layout in the form that fits the language model's attention and the device.

    Args:
        group_ids, branch_ids: (B, T) integers, see the top of this file.
        implementation: the language model's attention implementation.
        dtype: floating type of the queries, for the additive form.
        head_width: of the language model's attention; FlexAttention takes no narrow heads.

    Raises:
        SkyEyeError: the implementation ignores masks: branches would see each other.
    """
    if implementation == NAME:
        flex = group_ids.is_cuda and head_width >= FLEX_WIDTH
        return flex_mask(group_ids, branch_ids) if flex else split_mask(group_ids, branch_ids)
    if implementation in _ADDITIVE:
        return additive_mask(group_ids, branch_ids, dtype)
    raise SkyEyeError(
        f"attention implementation {implementation!r} ignores the mask that keeps branches apart",
        where="model.language.config.attn_implementation",
        remedy=f"leave it out, or use one of {', '.join(_ADDITIVE)}",
    )


def additive_mask(group_ids: torch.Tensor, branch_ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, 1, T, T): 0 where query i may see key j, the lowest finite number of ``dtype`` elsewhere.

    Additive because a boolean mask is silently misread by the eager attention of transformers. Padding sees itself and
    is seen by nobody else: no row is fully masked, so no attention implementation gives NaN there.
    """
    length = group_ids.shape[1]
    query, key = branch_ids.unsqueeze(2), branch_ids.unsqueeze(1)
    causal = torch.ones(length, length, dtype=torch.bool, device=group_ids.device).tril()
    same_group = (group_ids.unsqueeze(2) == group_ids.unsqueeze(1)) & (group_ids >= 0).unsqueeze(1)
    visible = causal & same_group & ((key == 0) | (key == query))
    visible = visible | torch.eye(length, dtype=torch.bool, device=group_ids.device)
    mask = torch.zeros(visible.shape, dtype=dtype, device=group_ids.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min).unsqueeze(1)


def flex_mask(group_ids: torch.Tensor, branch_ids: torch.Tensor) -> BlockMask:
    """The same rule as a block mask of FlexAttention; blocks without a visible pair are never computed."""

    def visible(batch, head, query, key):
        same_group = group_ids[batch, query] == group_ids[batch, key]
        of_prefix = branch_ids[batch, key] == 0
        same_branch = branch_ids[batch, query] == branch_ids[batch, key]
        seen = same_group & (group_ids[batch, key] >= 0) & (query >= key) & (of_prefix | same_branch)
        return seen | (query == key)

    batch, length = group_ids.shape
    make = _compiled_block_mask() if group_ids.is_cuda else create_block_mask
    return make(visible, batch, None, length, length, device=group_ids.device)


@cache
def _compiled_block_mask() -> Callable[..., BlockMask]:
    """Never holds the whole (T, T) mask, which the plain function computes first."""
    return torch.compile(create_block_mask)


def split_mask(group_ids: torch.Tensor, branch_ids: torch.Tensor) -> torch.Tensor:
    """(B, 1, 2, T) integers, group and branch ids: what :func:`lay_out` reads."""
    return torch.stack([group_ids, branch_ids], dim=1).unsqueeze(1)


def is_split(mask: torch.Tensor | BlockMask | None) -> bool:
    """Whether a mask is one from :func:`split_mask`; the others of the tensors are booleans or of a floating type."""
    return isinstance(mask, torch.Tensor) and not mask.is_floating_point() and mask.dtype != torch.bool


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | BlockMask | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    shared_keys: KeyStore | None = None,
    prefix_layout: Sequence[RowLayout] | None = None,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention as transformers calls it, carried out by the kind of mask; plain masks and none go to ``sdpa``.

    Args:
        shared_keys: a step of generation with shared prefixes, which then does everything; the mask is not read.
        prefix_layout: what :func:`lay_out` makes of the mask, where it is the ids themselves; None: the language model
            did not pass it on.

    Returns:
        (B, T, heads, head_dim), and None in the place of attention weights.
    """
    if shared_keys is not None:
        _refuse_limits(kwargs, longest=None)
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        return shared_keys.attend(module.layer_idx, query, key, value, scaling).transpose(1, 2), None
    if isinstance(attention_mask, BlockMask):
        # with weights in float32 and products in bf16 the rotation of positions leaves query and key in float32
        query, key = query.to(value.dtype), key.to(value.dtype)
        return flex_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if not is_split(attention_mask):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    _refuse_limits(kwargs, longest=query.shape[2])
    layout = lay_out(attention_mask) if prefix_layout is None else prefix_layout
    mixed = split_attention(query, key, value, layout, scaling=scaling, dropout=dropout)
    return mixed.transpose(1, 2), None


def _refuse_limits(arguments: Mapping[str, Any], longest: int | None) -> None:
    """Raise where the model asks for an attention that does not see all of ``longest`` tokens (None: any number)."""
    window = arguments.get("sliding_window")
    if arguments.get("softcap") is not None or (window is not None and (longest is None or window < longest)):
        raise SkyEyeError(
            "this language model limits its attention in a way the shared prefix does not know (softcap, window)",
            where="model.language",
            remedy="set run.share_prefix: false",
        )


@torch.compiler.disable  # it depends on the lengths in a pack: between two compiled parts of a layer
def split_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Sequence[RowLayout],
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attention that multiplies only what may see each other: a prefix with itself, a branch with prefix and itself.

    With a hundred questions behind one image an explicit mask would compute a row of thousands of keys for each query
    and throw nine tenths of it away. Here all branches of a group meet the keys of the prefix in one multiplication.

    Args:
        query: (B, heads, T, head_dim).
        key, value: (B, key heads, T, head_dim); fewer heads than the query's are shared by neighbours.
        layout: of the B rows, from :func:`lay_out`.
        scaling: factor on the products; None: 1 / sqrt(head_dim).
        dropout: share of the attention weights set to zero.

    Returns:
        (B, heads, T, head_dim); 0 at padding.
    """
    repeats = query.shape[1] // key.shape[1]
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    rows = []
    # Rows and parts are taken by unbind and split: each has one backward operation, where every slice would fill a
    # tensor as large as the whole with zeros and add it.
    for q, k, v, row in zip(query.unbind(), key.unbind(), value.unbind(), layout, strict=True):
        k, v = (x.repeat_interleave(repeats, dim=0) if repeats > 1 else x for x in (k, v))
        pieces = []
        parts = zip(row.parts, *(x.split(row.sizes, dim=1) for x in (q, k, v)), strict=True)
        prefix_k, prefix_v = k[:, :0], v[:, :0]
        for part, q, k, v in parts:
            if part == "padding":
                pieces.append(torch.zeros_like(v))
            elif part == "prefix":
                prefix_k, prefix_v = k, v
                if k.shape[1]:
                    pieces.append(_prefix_attention(q, k, v, scaling, dropout))
            else:
                pieces.append(attend_branches(q, k, v, prefix_k, prefix_v, part, scaling, dropout))
        rows.append(torch.cat(pieces, dim=1))
    return torch.stack(rows)


def _prefix_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scaling: float, dropout: float
) -> torch.Tensor:
    heads = q[None], k[None], v[None]
    return F.scaled_dot_product_attention(*heads, dropout_p=dropout, is_causal=True, scale=scaling).squeeze(0)


@dataclass(frozen=True)
class Branches:
    """How the branches of a group, one behind the other in a line, are laid into a padded block for the products.

    Attributes:
        number, longest: rows and columns of the block.
        block: (number * longest,) the place in the line of each place of the block; None: line and block are the same.
        back: (tokens,) the place in the block of each of the line; None as well.
        future: (longest, longest) True where a token would see a later one.
    """

    number: int
    longest: int
    block: torch.Tensor | None
    back: torch.Tensor | None
    future: torch.Tensor

    @staticmethod
    def of(lengths: Sequence[int], device: torch.device) -> Branches:
        """Of branches of these lengths; nothing is read back from the device."""
        number, longest = len(lengths), max(lengths)
        future = torch.ones(longest, longest, dtype=torch.bool).triu(1).to(device)
        if min(lengths) == longest:
            return Branches(number, longest, None, None, future)
        sizes = torch.tensor(lengths)
        places = torch.arange(longest)
        real = places < sizes[:, None]  # (number, longest)
        block = torch.where(real, (sizes.cumsum(0) - sizes)[:, None] + places, 0).flatten()
        return Branches(number, longest, block.to(device), real.flatten().nonzero().squeeze(1).to(device), future)


def attend_branches(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    prefix_k: torch.Tensor,
    prefix_v: torch.Tensor,
    branches: Branches,
    scaling: float,
    dropout: float = 0.0,
) -> torch.Tensor:
    """All branches of one group, (heads, tokens of the branches, head_dim), as a padded block for the products.

    ``prefix_k`` and ``prefix_v`` are (heads, tokens of the prefix, head_dim).
    """
    heads, _, width = q.shape
    number, longest, prefix = branches.number, branches.longest, prefix_k.shape[1]
    if branches.block is not None:
        q, k, v = (x.index_select(1, branches.block) for x in (q, k, v))
    q, k, v = (x.reshape(heads, number, longest, width) for x in (q * scaling, k, v))
    seen = q.view(heads, number * longest, width) @ prefix_k.transpose(1, 2)
    own = (q @ k.transpose(2, 3)).masked_fill(branches.future, float("-inf"))
    weights = torch.cat([seen.view(heads, number, longest, prefix), own], dim=-1).softmax(dim=-1, dtype=torch.float32)
    weights = F.dropout(weights, dropout).to(v.dtype) if dropout else weights.to(v.dtype)
    to_prefix, to_own = weights.split([prefix, longest], dim=-1)
    mixed = to_own @ v
    if prefix:
        from_prefix = to_prefix.reshape(heads, number * longest, prefix) @ prefix_v
        mixed = mixed + from_prefix.view(heads, number, longest, width)
    mixed = mixed.view(heads, number * longest, width)
    return mixed if branches.back is None else mixed.index_select(1, branches.back)


@dataclass(frozen=True)
class RowLayout:
    """One row as parts that follow one another: ``padding``, the ``prefix`` of a group, the branches behind it.

    Attributes:
        sizes: tokens of each part.
    """

    parts: list[Literal["padding", "prefix"] | Branches]
    sizes: list[int]


def lay_out(mask: torch.Tensor) -> list[RowLayout]:
    """The rows of a mask from :func:`split_mask`; once for all layers, by the keyword ``prefix_layout``."""
    rows = []
    for group_ids, branch_ids in mask[:, 0].cpu():
        row = RowLayout([], [])
        for _, prefix, branches in groups_of_row(group_ids, branch_ids):
            # a group without a prefix has one of no tokens: what it sees is not the prefix of the group before
            row.parts.append("padding" if prefix < 0 else "prefix")
            row.sizes.append(branches[0] if prefix < 0 else prefix)
            if prefix >= 0 and branches:
                row.parts.append(Branches.of(branches, mask.device))
                row.sizes.append(sum(branches))
        rows.append(row)
    return rows


def groups_of_row(group_ids: torch.Tensor, branch_ids: torch.Tensor) -> list[tuple[int, int, list[int]]]:
    """The groups of one row of (T,) ids: (start, length of the prefix, lengths of the branches).

    A run of padding is (start, -1, [its length]).
    """
    both = torch.stack([group_ids, branch_ids])
    (groups, branches), lengths = torch.unique_consecutive(both, dim=1, return_counts=True)
    found: list[tuple[int, int, list[int]]] = []
    start, last = 0, None
    for group, branch, length in zip(groups.tolist(), branches.tolist(), lengths.tolist(), strict=True):
        if group < 0:
            found.append((start, -1, [length]))
        elif group != last:
            found.append((start, length, []) if branch == 0 else (start, 0, [length]))
        else:
            found[-1][2].append(length)
        last, start = group, start + length
    return found


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
