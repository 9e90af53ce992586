"""The vision tower and the projection against the reference's numbers.

Tolerances are small multiples of what the golden README expects of another correct implementation in float32: 1e-7 in
embeddings, 5e-6 in vision tokens.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict, replace

import pytest
import torch
from safetensors import safe_open
from torch.testing import assert_close

from skyeye.models.vision import VisionTower, load_vision_weights, resize_position_embedding

pytestmark = pytest.mark.golden

TOKENS = {"atol": 2e-5, "rtol": 1e-5}
EMBEDDINGS = {"atol": 1e-6, "rtol": 0}


@pytest.fixture
def weights(golden):
    """The tower's weights in their published layout, with a surplus block, norm and head."""
    return golden / "eva_vit_g_layout.safetensors"


@torch.no_grad()
def test_native_tower(golden, golden_config, golden_vision, weights):
    size = json.loads((golden / "sizes.json").read_text())["vision"]["native_image_size"]
    tower = VisionTower(asdict(replace(golden_config.vision, image_size=size))).eval()
    load_vision_weights(tower, weights)
    assert_close(tower(golden_vision["native.pixels"]), golden_vision["native.vit_tokens"], **TOKENS)


def test_resized_position_embedding_of_the_tower(golden_config, golden_vision, weights, caplog):
    tower = VisionTower(asdict(golden_config.vision))
    with caplog.at_level(logging.INFO):
        load_vision_weights(tower, weights)
    native, resized = golden_vision["pos_embed.native"], golden_vision["pos_embed.interpolated"]
    assert_close(tower.backbone.pos_embed.data, resized, **EMBEDDINGS)
    message = f"resized {native.shape[1]} -> {resized.shape[1]}"
    assert (message in caplog.text) == (native.shape != resized.shape)
    with safe_open(weights, "pt") as file:
        surplus = file.keys() - tower.backbone.state_dict().keys()
    parts = {re.match(r"blocks\.\d+|\w+", name)[0] for name in surplus}
    assert f"{len(surplus)} tensors of {', '.join(sorted(parts))}" in caplog.text  # what is dropped by rule is said


def test_position_embedding_resize(golden_vision):
    others = [name.removesuffix(".in") for name in golden_vision if name.endswith(".in")]
    pairs = [("pos_embed.native", "pos_embed.interpolated"), *((f"{name}.in", f"{name}.out") for name in others)]
    assert len(pairs) > 1
    for before, after in pairs:
        resized = golden_vision[after]
        assert_close(resize_position_embedding(golden_vision[before], resized.shape[1]), resized, **EMBEDDINGS)


@torch.no_grad()
def test_every_stage_of_the_tower(golden_model, golden_vision):
    seen: dict[str, torch.Tensor] = {}
    backbone = golden_model.vision_tower.backbone
    stages = {"patch_embed": backbone.patch_embed} | {f"block{i}": block for i, block in enumerate(backbone.blocks)}
    for name, module in stages.items():
        module.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))
    tokens = golden_model.vision_tower(golden_vision["pixels"])
    for name in stages:
        assert_close(seen[name][:1], golden_vision[f"image0.{name}"], **TOKENS)
    assert_close(tokens, golden_vision["vit_tokens"], **TOKENS)

    normed = golden_model.vision_norm(golden_vision["vit_tokens"])
    assert_close(normed, golden_vision["ln_vision"], **TOKENS)
    joined = golden_model.projector.join(golden_vision["ln_vision"][:, golden_model.vision_tower.num_prefix_tokens :])
    assert torch.equal(joined, golden_vision["concatenated"])
    assert_close(golden_model.encode_images(golden_vision["pixels"]), golden_vision["projected"], **TOKENS)


def test_tokens_per_image(golden_model, golden_vision):
    assert golden_model.config.tokens_per_image == golden_vision["projected"].shape[1]
    assert golden_model.config.vision_shape.width == golden_vision["vit_tokens"].shape[2]
