"""``model.text`` and ``model.retrieval``: what compares pictures with words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skyeye.config.paths import PathText


@dataclass
class AdapterConfig:
    """PE-RSITR's adapter: beside the MLP of every block of both towers, the same weights for all of them."""

    bottleneck: int = 64
    dropout: float = 0.5


@dataclass
class TextConfig:
    """The text side of a CLIP. With it a model is two towers that meet in one space, and no language model."""

    width: int = 512
    depth: int = 12
    heads: int = 8
    mlp_ratio: float = 4.0
    context: int = 77  # ids of a text, begin and end included; longer ones are cut before the end
    vocab_size: int = 49408  # of CLIP's vocabulary; a tokenizer learnt here says its own
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"  # quick_gelu where OpenAI's weights began it
    embedding: int = 512  # width of the space
    # what of a picture is compared: the class token, or the mean where there is none; attention: as CLIP's ResNets do
    pooling: Literal["token", "attention"] = "token"
    weights: PathText | None = None  # a CLIP whose text side is taken, where model.checkpoint has none (GRAFT)
    adapter: AdapterConfig | None = None


@dataclass
class RetrievalConfig:
    """RS-CapRet's: linear maps of what the tower sees and of a learnt [RET] token behind a caption, into one space."""

    embedding: int = 256
    longest_caption: int = 32  # ids, [RET] not counted
