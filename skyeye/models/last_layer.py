"""The last layer of a language model, computed where its outputs are read.

Its keys and values are needed of every token, but what it makes of a token is read only where a target is predicted: a
sixth of the tokens of a pack, none of the image's. The parts of the layer that treat each token by itself get only
those tokens; the others' places in what they return are zeros, which nobody reads, so no number that is read changes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers.modeling_layers import GradientCheckpointingLayer

#: The keyword by which the language model hands the places to its layers.
KEYWORD = "output_places"
#: Parts that treat each token by itself and whose output is neither a key nor a value, by the names that transformers
#: gives them. A part of another name is computed everywhere.
_OF_ATTENTION = ("q_proj", "o_proj")
_BEHIND_ATTENTION = ("mlp",)


def narrow_last_layer(model: nn.Module) -> None:
    """Let the last layer of a language model heed ``output_places``, (N,) places in the B * T tokens of its rows.

    The hook sits on the attention: it gets the keyword, is reached again when gradient checkpointing computes the layer
    anew, and comes before the other parts. Without the keyword, or where the layer has other names, everything is
    computed.
    """
    layer = _last(model)
    if layer is not None and hasattr(layer, "self_attn"):
        layer.self_attn.register_forward_pre_hook(_Narrowing(layer), with_kwargs=True)


def can_narrow(model: nn.Module) -> bool:
    """Whether a language model hands ``output_places`` to its layers: those do whose attention can be chosen."""
    return getattr(model, "_supports_attention_backend", False)


def narrowed_parts(model: nn.Module) -> list[nn.Module]:
    """The parts of a language model that are computed where its outputs are read."""
    layer = _last(model)
    return [] if layer is None or not can_narrow(model) else tokenwise_parts(layer)


def _last(model: nn.Module) -> nn.Module | None:
    layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    return layers[-1] if layers else None


def tokenwise_parts(layer: nn.Module) -> list[nn.Module]:
    """The parts of a decoder layer that :func:`narrow_last_layer` narrows, as they are now: adapters wrap them."""
    within = ((getattr(layer, "self_attn", None), _OF_ATTENTION), (layer, _BEHIND_ATTENTION))
    found = [getattr(whole, name, None) for whole, names in within for name in names]
    return [part for part in found if part is not None]


class _Narrowing:
    """The hook of one layer: it puts hooks for one call on the parts.

    Attributes:
        waiting: of the parts that have not been called yet.
    """

    def __init__(self, layer: nn.Module):
        self.layer = layer
        self.waiting: list[RemovableHandle] = []

    def __call__(self, attention: nn.Module, arguments: tuple, keywords: dict[str, Any]) -> tuple[tuple, dict] | None:
        if KEYWORD not in keywords and not self.waiting:
            return None  # a graph that is compiled as a whole goes on
        keywords = dict(keywords)
        self._put_hooks(keywords.pop(KEYWORD, None))
        return arguments, keywords

    @torch.compiler.disable
    def _put_hooks(self, places: torch.Tensor | None) -> None:
        self._remove(list(self.waiting))  # of a pass that an error ended
        for part in [] if places is None else tokenwise_parts(self.layer):
            self._narrow_next_call(part, places)

    def _narrow_next_call(self, part: nn.Module, places: torch.Tensor) -> None:
        """Let a part with (B, T, H) compute (1, N, H), and put the results into (B, T, H') zeros."""
        shape: list[torch.Size] = []

        def pick(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            shape.append(arguments[0].shape[:-1])
            return (arguments[0].flatten(0, -2).index_select(0, places).unsqueeze(0), *arguments[1:])

        def put_back(module: nn.Module, arguments: tuple[torch.Tensor, ...], output: Any) -> Any:
            self._remove(handles)
            # some mixtures of experts return scores as well
            computed, *rest = output if isinstance(output, tuple) else (output,)
            whole = computed.new_zeros(shape[0].numel(), computed.shape[-1])
            whole = whole.index_copy(0, places, computed.flatten(0, -2)).unflatten(0, shape[0])
            return (whole, *rest) if rest else whole

        handles = [part.register_forward_pre_hook(pick), part.register_forward_hook(put_back)]
        self.waiting += handles

    def _remove(self, handles: list[RemovableHandle]) -> None:
        for handle in handles:
            handle.remove()
            self.waiting.remove(handle)
