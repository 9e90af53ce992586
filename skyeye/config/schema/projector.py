"""``model.projector``: the layer between tower and language model. ``type`` says which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skyeye.config.paths import PathText


@dataclass
class LinearProjectorConfig:
    """One linear layer, the reference; ``join_tokens`` neighbours in raster order become one token."""

    type: Literal["linear"] = "linear"
    join_tokens: int = 4


@dataclass
class MLPProjectorConfig:
    """Two linear layers with a GELU between them, behind the same joining of neighbours."""

    type: Literal["mlp"] = "mlp"
    join_tokens: int = 4


@dataclass
class PoolerProjectorConfig:
    """LHRS-Bot's attention pooler: queries for each level of ``model.vision.layers``, through the same layers."""

    type: Literal["pooler"] = "pooler"
    queries: list[int] = field(default_factory=lambda: [64, 48, 32])
    layers: int = 6
    heads: int = 16
    mlp_ratio: int = 4


@dataclass
class NovaPoolerProjectorConfig:
    """LHRS-Bot-Nova's; ``experts`` of which a token passes ``selected`` stand in the place of the MLP, 0: none."""

    type: Literal["nova_pooler"] = "nova_pooler"
    queries: list[int] = field(default_factory=lambda: [112, 96, 64])
    layers: int = 6
    heads: int = 8
    mlp_ratio: int = 4
    experts: int = 4
    selected: int = 2


@dataclass
class QFormerProjectorConfig:
    """InstructBLIP's Q-Former (RSGPT): BERT-base with queries, which reads the question. Needs share_prefix: false."""

    type: Literal["qformer"] = "qformer"
    queries: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    cross_every: int = 2  # layers of which one looks at the image
    positions: int = 512
    vocabulary: PathText | None = None  # vocab.txt of bert-base-uncased, its folder or name on the hub
    vocab_size: int = 30523  # with InstructBLIP's [DEC]
    longest_question: int = 160  # ids
    dropout: float = 0.1


#: A new kind of projector is a dataclass here and one more member of this union.
ProjectorConfig = (
    LinearProjectorConfig
    | MLPProjectorConfig
    | PoolerProjectorConfig
    | NovaPoolerProjectorConfig
    | QFormerProjectorConfig
)
