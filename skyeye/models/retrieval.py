"""RS-CapRet's retrieval: a learnt [RET] token behind a caption; linear maps of it and of a picture into one space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

#: Stands in ids where [RET] does. No word of the vocabulary: the language model's own tables stay as they are.
RET_ID = -2


class Retrieval(nn.Module):
    """The [RET] token and both maps.

    Args:
        retrieval: the fields of :class:`skyeye.config.schema.RetrievalConfig`.
        width: of what the vision tower gives.
        hidden_size: of the language model.

    Attributes:
        token: (hidden_size,), what the language model reads at [RET].
    """

    def __init__(self, retrieval: Mapping[str, Any], width: int, hidden_size: int):
        super().__init__()
        self.token = nn.Parameter(torch.empty(hidden_size).normal_(std=0.02))
        self.image = nn.Linear(width, retrieval["embedding"], bias=False)
        self.text = nn.Linear(hidden_size, retrieval["embedding"], bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def images(self, patches: torch.Tensor) -> torch.Tensor:
        """(N, patches, width) of the tower -> (N, embedding) of length 1: the mean of the patches, mapped."""
        return functional.normalize(self.image(patches.to(self.image.weight.dtype).mean(dim=1)), dim=-1)

    def texts(self, hidden: torch.Tensor) -> torch.Tensor:
        """(N, hidden_size) states at [RET] -> (N, embedding) of length 1."""
        return functional.normalize(self.text(hidden.to(self.text.weight.dtype)), dim=-1)

    def scale(self) -> torch.Tensor:
        """The factor on cosines."""
        return self.logit_scale.clamp(max=math.log(100)).exp()


def caption_rows(captions: list[list[int]], bos: int | None, pad: int, longest: int) -> torch.Tensor:
    """(N, T) ids: begin, the caption (at most ``longest`` ids), [RET], padded behind it."""
    begin = [] if bos is None else [bos]
    rows = [[*begin, *ids[:longest], RET_ID] for ids in captions]
    width = max(map(len, rows))
    return torch.tensor([row + [pad] * (width - len(row)) for row in rows])
