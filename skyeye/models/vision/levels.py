"""Levels of a tower: outputs of its blocks, counted as the hidden states of Hugging Face are.

0 are the embeddings that the first block reads, k is what block k gives (counted from 1), -1 what the last gives, and
no final norm is behind any of them unless ``level_norm`` asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from skyeye.errors import SkyEyeError


def resolve_layers(layers: Sequence[int] | None, depth: int) -> tuple[int, ...] | None:
    """Levels of a tower of ``depth`` blocks, counted from its beginning; None: its last output, as it gives it.

    Raises:
        SkyEyeError: a level is beyond the tower.
    """
    if layers is None:
        return None
    beyond = [layer for layer in layers if not -depth - 1 <= layer <= depth]
    if beyond:
        raise SkyEyeError(
            f"there is no level {', '.join(map(str, beyond))} in a tower of {depth} blocks",
            where="model.vision.layers",
            remedy=f"0 (embeddings) to {depth} (the last block), or -1 (the last block) to {-depth - 1}",
        )
    return tuple(layer % (depth + 1) for layer in layers)


def has_blocks(backbone: nn.Module) -> bool:
    """Whether a timm backbone is a stack of blocks of one width, each of whose outputs can be read."""
    return all(hasattr(backbone, name) for name in ("blocks", "norm_pre", "embed_dim", "forward_intermediates"))


def read_levels(
    backbone: nn.Module, pixel_values: torch.Tensor, layers: Sequence[int], norm: bool
) -> list[torch.Tensor]:
    """(N, 3, S, S) pixels -> for each of ``layers``, from 0, (N, prefix + tokens, width) with the prefix first."""
    embeddings: list[torch.Tensor] = []
    # outside the blocks, so that gradient checkpointing does not run the hook again
    handle = backbone.norm_pre.register_forward_hook(lambda module, inputs, output: embeddings.append(output))
    try:
        blocks = sorted({layer - 1 for layer in layers if layer > 0})
        outputs = _outputs(backbone, pixel_values, blocks, norm)
    finally:
        handle.remove()
    found = dict(zip((block + 1 for block in blocks), outputs, strict=True))
    if 0 in layers:
        found[0] = backbone.norm(embeddings[0]) if norm else embeddings[0]
    return [found[layer] for layer in layers]


def _outputs(backbone: nn.Module, pixel_values: torch.Tensor, blocks: list[int], norm: bool) -> list[torch.Tensor]:
    """What the blocks of these numbers give, from 0 and rising."""
    if not blocks:  # the embeddings alone are wanted, and there are no blocks behind them
        backbone.forward_features(pixel_values)
        return []
    prefix = backbone.num_prefix_tokens
    outputs = backbone.forward_intermediates(
        pixel_values,
        indices=blocks,
        return_prefix_tokens=bool(prefix),
        norm=norm,
        output_fmt="NLC",
        intermediates_only=True,
    )
    return [torch.cat([before, tokens], dim=1) for tokens, before in outputs] if prefix else outputs
