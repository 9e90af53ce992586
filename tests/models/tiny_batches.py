"""Inputs for the tiny model of the tests."""

from __future__ import annotations

import torch

from skyeye.models.losses import IGNORE_INDEX


def batch(model, rows: int = 2, words: int = 5) -> dict[str, torch.Tensor]:
    """Rows of one image, a question of two words and an answer."""
    tokens, size = model.config.tokens_per_image, model.config.vision["image_size"]
    ids = torch.randint(1, 100, (rows, words))
    input_ids = torch.cat([torch.full((rows, tokens), -1), ids], dim=1)
    labels = torch.cat([torch.full((rows, tokens + 2), IGNORE_INDEX), ids[:, 2:]], dim=1)
    return {"input_ids": input_ids, "labels": labels, "pixel_values": torch.randn(rows, 3, size, size)}
