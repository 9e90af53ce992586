"""A checkpoint directory becomes the model and the processor that belong together."""

from __future__ import annotations

from pathlib import Path

import torch

from skyeye.errors import SkyEyeError
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor


def open_checkpoint(path: str | Path) -> tuple[SkyEyeForConditionalGeneration, SkyEyeProcessor]:
    """Load what training exported, or ``save_pretrained`` of model and processor wrote into one directory, in float32.

    Raises:
        SkyEyeError: there is no such directory, or its weights are not those of its configuration.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise SkyEyeError(
            "not a checkpoint directory: no config.json",
            where=str(path),
            remedy="give a folder like runs/NAME/checkpoints/STAGE",
        )
    model = SkyEyeForConditionalGeneration.from_pretrained(path, dtype=torch.float32)
    return model, SkyEyeProcessor.from_pretrained(path)
