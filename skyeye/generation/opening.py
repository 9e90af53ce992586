"""How a checkpoint is opened to be asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skyeye.config.schema import ModelConfig
from skyeye.data.images.square import Resize

#: What a model makes of a record: words (which may hold boxes), or a vector of its picture or text.
Kind = Literal["text", "embedding"]


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


def kinds_given(checkpoint: Path, opening: Opening) -> frozenset[Kind]:
    """What a checkpoint can be asked for, by its recipe or by its ``config.json``; nothing else is read."""
    if isinstance(base := opening.base, ModelConfig):
        two_towers, retrieval = base.text is not None, base.retrieval is not None
    else:
        try:
            said = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
            two_towers, retrieval = said.get("model_type") == "skyeye_two_towers", bool(said.get("retrieval"))
        except (OSError, ValueError, AttributeError):  # of another kind, or damaged: who opens it says so
            return frozenset({"text"})
    return frozenset({"embedding"} if two_towers else {"text", "embedding"} if retrieval else {"text"})
