"""The precision that weights are held in: low for what stays as it is, float32 for what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from skyeye.models.modeling import SkyEyeForConditionalGeneration

Part = Literal["vision", "language"]

#: Precisions as recipes name them.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Parts that may be held in low precision, and the names of their parameters begin with.
_PREFIXES = {"vision": "vision_tower.", "language": "language_model."}


def in_precision(
    model: SkyEyeForConditionalGeneration, dtype: torch.dtype, parts: Sequence[Part] = ("vision", "language")
) -> SkyEyeForConditionalGeneration:
    """Hold the weights of ``parts`` in ``dtype`` and all others in float32; in place.

    Adapters, the projector and the norm before it are float32 always, as in the reference. Buffers stay as they are:
    rotary frequencies need float32.
    """
    kept = tuple(model._keep_in_fp32_modules_strict)
    low = tuple(_PREFIXES[part] for part in parts)
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():  # packed 4-bit weights
            continue
        lowered = name.startswith(low) and not any(part in name for part in kept)
        parameter.data = parameter.data.to(dtype if lowered else torch.float32)
    return model
