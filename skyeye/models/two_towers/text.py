"""The text side of a CLIP: transformers' text model, read where its text ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel


class TextTower(nn.Module):
    """A causal transformer whose state at the end of a text, behind the last norm, stands for the text.

    Args:
        text: the fields of :class:`skyeye.config.schema.TextConfig`.
        end_token_id: of the token that ends a text; None: the largest id of a row does, as in CLIP's vocabulary.
    """

    def __init__(self, text: Mapping[str, Any], end_token_id: int | None = None):
        super().__init__()
        self.end_token_id = end_token_id
        self.backbone = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=text["vocab_size"],
                hidden_size=text["width"],
                intermediate_size=round(text["width"] * text["mlp_ratio"]),
                num_hidden_layers=text["depth"],
                num_attention_heads=text["heads"],
                max_position_embeddings=text["context"],
                hidden_act=text["activation"],
                bos_token_id=0,  # neither is read here; transformers warns of its own in a small vocabulary
                eos_token_id=text["vocab_size"] - 1,
            )
        )

    @property
    def blocks(self) -> nn.ModuleList:
        """Its layers, in order."""
        return self.backbone.encoder.layers

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(N, T) ids, padded behind the end -> (N, width)."""
        hidden = self.backbone(input_ids=input_ids).last_hidden_state
        end = input_ids if self.end_token_id is None else (input_ids == self.end_token_id).int()
        return hidden[torch.arange(len(hidden), device=hidden.device), end.argmax(dim=1)]
