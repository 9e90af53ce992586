"""What generation from embeddings needs and transformers gets wrong."""

from __future__ import annotations

import torch
from torch.nn import functional as F
from transformers import LogitsProcessor


class RepetitionPenalty(LogitsProcessor):
    """Repetition penalty over the tokens of the answer so far, and bos, which the reference counts among them.

    The processor of transformers passes over as many new tokens as a row has padding on its left, because with
    embeddings for a prompt the ids it sees hold the answer alone.

    Args:
        penalty: above 1 discourages repetition.
        bos_token_id: None for a language model without one.
    """

    def __init__(self, penalty: float, bos_token_id: int | None):
        self.penalty, self.bos_token_id = penalty, bos_token_id

    # transformers calls its tensors by the type of their numbers, torch does not: ids are int64, scores floating
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        said = input_ids if self.bos_token_id is None else F.pad(input_ids, (1, 0), value=self.bos_token_id)
        score = scores.gather(1, said)
        return scores.scatter(1, said, torch.where(score < 0, score * self.penalty, score / self.penalty))
