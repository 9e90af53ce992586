"""How a checkpoint is opened to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skyeye.config.schema import ModelConfig
from skyeye.data.images.square import Resize


@dataclass(frozen=True)
class Opening:
    """How a checkpoint is opened to be asked.

    Attributes:
        base: see :func:`skyeye.models.pretrained.open_checkpoint`.
        dtype: see :func:`skyeye.models.precision.resolve_precision`.
        device: ``"cpu"``, ``"cuda"`` ...; None: the GPU of this process when there is one.
        keep_adapters: leave adapters beside their weights instead of adding them in float32.
        family: see :func:`skyeye.models.pretrained.open_checkpoint`.
        resize: how pictures become square (:func:`skyeye.data.images.square.to_square`); None: as in training.
    """

    base: str | Path | ModelConfig | None = None
    dtype: str = "auto"
    device: str | None = None
    keep_adapters: bool = False
    family: str | None = None
    resize: Resize | None = None
