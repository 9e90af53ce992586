"""Activations of layers computed again in the backward pass, under the name that transformers has for it."""

from __future__ import annotations

from transformers import PreTrainedModel


def checkpoint_layers(model: PreTrainedModel, on: bool = True) -> None:
    """Keep only what enters a layer, or everything again. Older versions call it gradient checkpointing."""
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    getattr(model, f"{kind}_checkpointing_{'enable' if on else 'disable'}")()
