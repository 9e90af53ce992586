"""The model: vision tower, projector, language model, and the checkpoints they live in."""

from __future__ import annotations

from skyeye.models.torchvision_compat import make_torchvision_importable

# timm and transformers import torchvision, so this comes before either of them.
make_torchvision_importable()
