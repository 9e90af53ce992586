"""InstructBLIP's Q-Former: queries that look at the image and read the question, then one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import InstructBlipQFormerConfig
from transformers.models.instructblip.modeling_instructblip import InstructBlipQFormerModel

from skyeye.config.schema import QFormerProjectorConfig
from skyeye.data.questions import PADDING
from skyeye.models.projectors.base import Projector


class QFormerProjector(Projector):
    """``queries`` image tokens, other ones for every question.

    The norm before it (``ln_vision``) is trained, and class tokens are seen, too.
    """

    settings = QFormerProjectorConfig
    reads_text = True
    reads_prefix = True

    def __init__(self, settings: QFormerProjectorConfig, widths: Sequence[int], hidden_size: int):
        super().__init__(settings, widths, hidden_size)
        self.ln_vision = nn.LayerNorm(sum(widths), eps=1e-5)
        self.query_tokens = nn.Parameter(torch.randn(1, settings.queries, settings.width) * 0.02)
        config = InstructBlipQFormerConfig(
            vocab_size=settings.vocab_size,
            hidden_size=settings.width,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            intermediate_size=settings.mlp_width,
            max_position_embeddings=settings.positions,
            encoder_hidden_size=sum(widths),
            cross_attention_frequency=settings.cross_every,
            hidden_dropout_prob=settings.dropout,
            attention_probs_dropout_prob=settings.dropout,
        )
        self.qformer = InstructBlipQFormerModel(config)
        self.llm_proj = nn.Linear(settings.width, hidden_size)

    @classmethod
    def tokens_per_image(cls, settings: QFormerProjectorConfig, grid: tuple[int, int]) -> int:
        return settings.queries

    def forward(self, tokens: torch.Tensor, question_ids: torch.Tensor | None = None) -> torch.Tensor:
        """(N, n, width) tokens and the (N, L) ids of their questions, padded with -1 -> (N, queries, hidden_size)."""
        seen = self.ln_vision(tokens)
        queries = self.query_tokens.expand(len(tokens), -1, -1)
        mask = torch.ones(queries.shape[:2], dtype=torch.long, device=tokens.device)
        if question_ids is not None:
            mask = torch.cat([mask, (question_ids != PADDING).long()], dim=1)
            question_ids = question_ids.clamp(min=0)
        output = self.qformer(question_ids, mask, query_embeds=queries, encoder_hidden_states=seen)
        return self.llm_proj(output.last_hidden_state[:, : queries.shape[1]])
