"""Attention mask of the shared-prefix layout: one image, then every question about it, in a single row.

A row is a prefix (branch id 0) followed by branches (ids 1, 2, ...), then padding (-1). A token sees what came before
it in the prefix and in its own branch, so each branch computes what it would in a row of its own behind the prefix.
"""

from __future__ import annotations

import torch


def shared_prefix_mask(branch_ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive attention mask of the layout.

    Args:
        branch_ids: (B, T) integers: 0 prefix, k >= 1 branch k, -1 padding.
        dtype: floating type of the queries; the mask must have the same.

    Returns:
        (B, 1, T, T): 0 where query i may see key j, the lowest finite number of ``dtype`` elsewhere. Additive because a
        boolean mask is silently misread by the eager attention of transformers. Padding sees itself and is seen by
        nobody else: no row is fully masked, so no attention implementation gives NaN there.
    """
    query, key = branch_ids.unsqueeze(2), branch_ids.unsqueeze(1)
    length = branch_ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=branch_ids.device).tril()
    visible = causal & ((key == 0) | (key == query)) & (key >= 0) & (query >= 0)
    visible = visible | torch.eye(length, dtype=torch.bool, device=branch_ids.device)
    mask = torch.zeros(visible.shape, dtype=dtype, device=branch_ids.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min).unsqueeze(1)
