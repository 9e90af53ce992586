"""``model.projector``: the layer between tower and language model. ``type`` says which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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


#: A new kind of projector is a dataclass here and one more member of this union.
ProjectorConfig = LinearProjectorConfig | MLPProjectorConfig
