"""What a stage of training asks of the model: the answers and, where parts start from nothing, the alignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from skyeye.config.schema import AlignmentConfig
from skyeye.errors import SkyEyeError
from skyeye.models.losses import IGNORE_INDEX, NUMBERS, BoxReader, token_loss, word_loss

#: Targets whose logits are in memory together.
PIECE = 1024


class TrainingObjective(nn.Module):
    """The losses of one stage. Its two linear layers, if any, are trained with the model and belong to no saved model.

    Args:
        hidden_size: of the language model.
        answers: False leaves the answers out, and with them the language model's forward pass.
        alignment: weights of the word-region alignment.
        number_smoothing: soft targets for box numbers, see :func:`skyeye.models.losses.token_loss`.
        number_noise: share of the box numbers in the answers that are replaced by random ones where the model reads
            them (not where it is to predict them). Otherwise only the first number of a box has to be found from the
            question: the others follow from the ones before.
        number_token_ids: ids of <0> .. <100>, needed by ``number_smoothing`` and ``number_noise``.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        answers: bool = True,
        alignment: AlignmentConfig | None = None,
        number_smoothing: float = 0.0,
        number_noise: float = 0.0,
        number_token_ids: Sequence[int] | None = None,
    ):
        super().__init__()
        if (number_smoothing > 0 or number_noise > 0) and not number_token_ids:
            raise SkyEyeError(
                "soft or noisy box numbers need numbers that are single tokens",
                where="number_smoothing, number_noise",
                remedy="set model.tokenizer.box_tokens: true, or both to 0",
            )
        self.answers, self.alignment = answers, alignment or AlignmentConfig()
        self.number_smoothing, self.number_noise = number_smoothing, number_noise
        self.number_token_ids = None if not number_token_ids else torch.tensor(number_token_ids)
        self.region_reader = BoxReader(hidden_size) if self.alignment.boxes else None
        self.phrase_reader = BoxReader(hidden_size) if self.alignment.phrases else None

    def noisy_numbers(self, input_ids: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """(B, T) ids with some box numbers of the answers replaced by random ones, in training."""
        if not self.number_noise or not self.training or labels is None:
            return input_ids
        numbers = self.number_token_ids.to(input_ids.device)
        chosen = torch.isin(labels, numbers) & (torch.rand(labels.shape, device=labels.device) < self.number_noise)
        return torch.where(chosen, numbers[torch.randint(NUMBERS, labels.shape, device=labels.device)], input_ids)

    def tokens(self, logits: torch.Tensor, targets: torch.Tensor, count: int | torch.Tensor | None) -> torch.Tensor:
        """Loss of (N, V) logits at (N,) targets: their sum divided by ``count``; None: by their number."""
        loss = token_loss(
            logits, targets, number_token_ids=self.number_token_ids, number_smoothing=self.number_smoothing
        )
        return loss / (max(len(targets), 1) if count is None else count)

    def tokens_in_pieces(
        self, head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, count: int | torch.Tensor | None
    ) -> torch.Tensor:
        """The loss of :meth:`tokens` from (N, H) hidden states, with the logits of :data:`PIECE` targets in memory.

        The logits of a piece are computed again in the backward pass: a head and a vocabulary of 32,000 take 128 MB for
        a thousand targets, and as much again for their gradient.
        """
        count = max(len(targets), 1) if count is None else count

        def piece(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return self.tokens(head(hidden), targets, count)

        pieces = list(zip(hidden.split(PIECE), targets.split(PIECE), strict=True))
        if len(pieces) == 1:
            return piece(*pieces[0])
        return torch.stack([checkpoint(piece, *part, use_reentrant=False) for part in pieces]).sum()

    def regions(
        self,
        features: torch.Tensor | None,
        words: torch.Tensor | None,
        boxes: torch.Tensor | None,
        counts: Mapping[str, int] | None,
        word_embeddings: Callable[[], torch.Tensor],
    ) -> torch.Tensor | float:
        """Weighted loss of what the image tokens (N, n, H) show: the words for it and the extent of the object.

        Args:
            words, boxes: (N, n, K) ids and (N, n, 4) numbers, padded with -100.
            counts: what ``region_words`` and ``region_boxes`` are divided by; None: what is there.
            word_embeddings: gives the (V, H) table, where it is needed.
        """
        weights, loss = self.alignment, 0.0
        if features is None or not self.training:
            return loss
        if weights.words and words is not None:
            known = (words != IGNORE_INDEX).any(dim=-1)
            total = word_loss(features[known], words[known], word_embeddings(), weights.sharpness)
            loss = loss + weights.words * total / _count(counts, "region_words", known)
        if weights.boxes and boxes is not None:
            known = boxes[..., 0] != IGNORE_INDEX
            total = self.region_reader.loss(features[known], boxes[known])
            loss = loss + weights.boxes * total / _count(counts, "region_boxes", known)
        return loss

    def phrases(
        self,
        hidden_states: Sequence[torch.Tensor] | None,
        boxes: torch.Tensor | None,
        counts: Mapping[str, int] | None,
    ) -> torch.Tensor | float:
        """Weighted loss of the boxes of named objects, read where they are named.

        They are read in the middle of the layers: what is known only at the last one cannot be looked up by the tokens
        of the answer.

        Args:
            hidden_states: (B, T, H) after the embeddings and after each layer.
            boxes: (B, T, 4), -100 where nothing is named.
        """
        if self.phrase_reader is None or boxes is None or not self.training:
            return 0.0
        known = boxes[..., 0] != IGNORE_INDEX
        total = self.phrase_reader.loss(hidden_states[len(hidden_states) // 2][known], boxes[known])
        return self.alignment.phrases * total / _count(counts, "phrase_boxes", known)


def _count(counts: Mapping[str, int] | None, name: str, known: torch.Tensor) -> int | torch.Tensor:
    return known.sum().clamp(min=1) if counts is None else max(counts[name], 1)
