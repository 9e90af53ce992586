"""The fingerprint of activations: the library's block gives it, and QuickGELU taken for GELU is refused by it."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from skyeye.config.schema import VisionConfig
from skyeye.errors import SkyEyeError
from skyeye.models.vision import VisionTower, load_vision_weights
from skyeye.models.vision.fingerprint import activation_fingerprint

SIZES = {
    "architecture": "clip",
    "image_size": 28,
    "patch_size": 14,
    "width": 32,
    "depth": 2,
    "heads": 2,
    "mlp_ratio": 4.0,
}


@pytest.fixture
def published(tmp_path):
    """A file of open_clip with QuickGELU, and the fingerprint that its own first block gives."""
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 28, "layers": 2, "width": 32, "head_width": 16, "patch_size": 14}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    model = open_clip.model.CLIP(8, vision, text, quick_gelu=True)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.2)
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    return tmp_path / "clip.pt", activation_fingerprint(model.visual.transformer.resblocks[0], 32)


def load(file, **settings) -> VisionTower:
    tower = VisionTower(asdict(VisionConfig(**{**SIZES, **settings})))
    load_vision_weights(tower, file)
    return tower


def test_the_right_activation_is_taken_at_any_size(published):
    file, stored = published
    load(file, fingerprint=stored)
    load(file, fingerprint=stored, image_size=56, layers=[1])


def test_the_other_activation_is_refused_with_the_right_one(published):
    file, stored = published
    with pytest.raises(SkyEyeError, match="trained with quick_gelu, the recipe says gelu") as caught:
        load(file, fingerprint=stored, activation="gelu")
    assert caught.value.remedy == "set model.vision.activation: quick_gelu"


def test_other_weights_are_refused(published):
    file, stored = published
    with pytest.raises(SkyEyeError, match="other weights than the recipe's fingerprint is of"):
        load(file, fingerprint=[number + 1 for number in stored])


def test_without_a_stored_one_it_is_told(published, caplog):
    file, stored = published
    caplog.set_level("INFO")
    load(file)
    assert f"fingerprint with quick_gelu: {stored[:1]}"[:-1] in caplog.text
