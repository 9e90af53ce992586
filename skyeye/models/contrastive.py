"""What a stage asks of two towers: that pictures and their captions find each other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from skyeye.models.info_nce import info_nce
from skyeye.models.two_towers import TwoTowers


class ContrastiveObjective(nn.Module):
    """Two towers with the loss of a stage around them: this is what is trained, ``model`` is what is saved and used.

    Args:
        model: with its trained parts chosen.
        weight: of the loss.
    """

    def __init__(self, model: TwoTowers, weight: float = 1.0):
        super().__init__()
        self.model, self.weight = model, weight
        self.training = model.training

    def forward(
        self,
        pixel_values: torch.Tensor,
        caption_ids: torch.Tensor,
        paired: torch.Tensor,
        *,
        counts: Mapping[str, int] | None = None,
    ) -> torch.Tensor:
        """The share of this process in the loss of a step: a scalar.

        Args:
            pixel_values, caption_ids: (N, 3, S, S) and (N, T), a picture and its caption in each row.
            paired: (N,), False where the picture could not be read.
            counts: of the step; the loss counts its pairs itself.
        """
        images, texts = self.model.embed_images(pixel_values), self.model.embed_texts(caption_ids)
        return self.weight * info_nce(images, texts, self.model.scale(), paired)
