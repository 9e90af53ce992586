"""What stands for a picture in the tokens of its tower, and brings it into the space of the texts."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from skyeye.errors import SkyEyeError

_HEAD_WIDTH = 64


class TokenPooling(nn.Linear):
    """CLIP's transformers': the class token, or where there is none the mean of all tokens, behind a linear map."""

    def __init__(self, width: int, embedding: int, class_token: bool):
        super().__init__(width, embedding, bias=False)
        self.class_token = class_token

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N, T, width), the class token first -> (N, embedding)."""
        return super().forward(tokens[:, 0] if self.class_token else tokens.mean(dim=1))


class AttentionPooling(nn.Module):
    """CLIP's ResNets': the mean of all places attends to itself and to them, by heads of 64 features.

    Args:
        places: of the feature map; each has a position of its own, the mean has the first.

    Raises:
        SkyEyeError: the width is no multiple of 64, as that of all of CLIP's ResNets is.
    """

    def __init__(self, width: int, embedding: int, places: int):
        super().__init__()
        if width % _HEAD_WIDTH:
            what = f"pools by heads of {_HEAD_WIDTH} features, and the tower has {width}"
            raise SkyEyeError(what, where="model.text.pooling", remedy="set it to token")
        self.positions = nn.Parameter(torch.randn(places + 1, width) / width**0.5)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, embedding)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N, places, width) -> (N, embedding)."""
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.positions
        asked = self.query(tokens[:, :1]), self.key(tokens), self.value(tokens)
        query, key, value = (part.unflatten(-1, (-1, _HEAD_WIDTH)).transpose(1, 2) for part in asked)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return self.out(seen.transpose(1, 2).flatten(1))
