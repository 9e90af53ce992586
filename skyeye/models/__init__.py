"""The model: vision tower, projector, language model, and the checkpoints they live in."""

from __future__ import annotations

import logging

from skyeye.models.shape_caches import limit_kept_kernels
from skyeye.models.torchvision_compat import make_torchvision_importable

# timm and transformers import torchvision, so this comes before either of them.
make_torchvision_importable()
limit_kept_kernels()
# PEFT imports bitsandbytes wherever it is installed. It then says at every start that a kernel of the hub for 4 bits,
# which is not needed, was not found, and of every product in 8 bits that its input is cast.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
