"""Levels are the hidden states of Hugging Face, and what is behind the highest one is not there."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close
from transformers import CLIPVisionConfig, CLIPVisionModel

from skyeye.config.schema import VisionConfig
from skyeye.errors import SkyEyeError
from skyeye.models.vision import VisionTower, load_vision_weights, vision_shape

EVA = VisionConfig(image_size=28, patch_size=7, width=16, depth=4, heads=2, mlp_ratio=2.0)
CLIP = VisionConfig(
    architecture="timm",
    name="vit_base_patch16_clip_quickgelu_224",
    image_size=32,
    arguments={"embed_dim": 24, "depth": 4, "num_heads": 2, "patch_size": 8},
)


def tower(vision: VisionConfig, **changes) -> VisionTower:
    return VisionTower(asdict(replace(vision, **changes))).eval()


def pixels(vision: VisionConfig, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, vision.image_size, vision.image_size)


@pytest.fixture(params=[EVA, CLIP], ids=["eva", "timm"])
def vision(request) -> VisionConfig:
    return request.param


@pytest.fixture
def whole(vision) -> VisionTower:
    """The tower with all its blocks, and weights that are not those of a start."""
    made = tower(vision)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.3)
    return made


@pytest.fixture
def weights(whole, tmp_path) -> str:
    save_file(whole.backbone.state_dict(), tmp_path / "whole.safetensors")
    return str(tmp_path / "whole.safetensors")


def states(whole: VisionTower, images: torch.Tensor) -> list[torch.Tensor]:
    """What the first block reads and what each block gives, seen by hooks."""
    seen, backbone = [], whole.backbone
    handles = [backbone.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))]
    handles += [
        block.register_forward_hook(lambda module, inputs, output: seen.append(output)) for block in backbone.blocks
    ]
    whole(images)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("layers", [[-2], [1, 3], [3, 1], [4], [-1], [0, 2], [0], [-5, -4]])
def test_levels_are_hidden_states_of_the_whole_tower(vision, whole, weights, layers):
    made = tower(vision, layers=layers)
    load_vision_weights(made, weights)
    images = pixels(vision)
    expected = [states(whole, images)[layer] for layer in layers]
    levels = made.levels(images)
    assert len(levels) == len(layers)
    assert all(torch.equal(level, state) for level, state in zip(levels, expected, strict=True))
    assert torch.equal(made(images), torch.cat(expected, dim=2))
    assert torch.equal(made.patches(images), torch.cat(expected, dim=2)[:, 1:])
    highest = max(layer % 5 for layer in layers)
    assert len(made.backbone.blocks) == highest


def test_levels_as_timm_reads_them():
    whole = tower(CLIP)
    chosen = tower(CLIP, layers=[2, -2], level_norm=True)
    chosen.backbone.load_state_dict({n: t for n, t in whole.backbone.state_dict().items() if "blocks.3" not in n})
    images = pixels(CLIP)
    for norm in (True, False):
        chosen.level_norm = norm
        expected = whole.backbone.forward_intermediates(
            images, indices=[1, 2], norm=norm, output_fmt="NLC", intermediates_only=True
        )
        assert torch.equal(chosen.patches(images), torch.cat(expected, dim=2))


def test_levels_as_hugging_face_counts_them(tmp_path):
    config = CLIPVisionConfig(
        hidden_size=24, intermediate_size=96, num_hidden_layers=4, num_attention_heads=2, image_size=32, patch_size=8
    )
    theirs = CLIPVisionModel(config).eval()
    save_file(as_timm(theirs.state_dict(), 4), tmp_path / "clip.safetensors")
    images = pixels(CLIP)
    hidden = theirs(images, output_hidden_states=True).hidden_states
    for layers in ([-2], [1, 3, 4], [0, -1]):
        ours = tower(CLIP, layers=layers)
        load_vision_weights(ours, tmp_path / "clip.safetensors")
        for level, layer in zip(ours.levels(images), layers, strict=True):
            assert_close(level, hidden[layer], atol=1e-5, rtol=1e-5)


def as_timm(state: dict[str, torch.Tensor], depth: int) -> dict[str, torch.Tensor]:
    """Hugging Face's names of a CLIP tower -> timm's."""
    state = {name.removeprefix("vision_model."): tensor for name, tensor in state.items()}
    made = {
        "cls_token": state["embeddings.class_embedding"].reshape(1, 1, -1),
        "patch_embed.proj.weight": state["embeddings.patch_embedding.weight"],
        "pos_embed": state["embeddings.position_embedding.weight"].unsqueeze(0),
    }
    parts = {"norm1": "layer_norm1", "attn.proj": "self_attn.out_proj", "norm2": "layer_norm2"}
    parts |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    for kind in ("weight", "bias"):
        made[f"norm_pre.{kind}"], made[f"norm.{kind}"] = state[f"pre_layrnorm.{kind}"], state[f"post_layernorm.{kind}"]
        for block in range(depth):
            layer = f"encoder.layers.{block}"
            qkv = [state[f"{layer}.self_attn.{name}_proj.{kind}"] for name in "qkv"]
            made[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(qkv)
            for ours, theirs in parts.items():
                made[f"blocks.{block}.{ours}.{kind}"] = state[f"{layer}.{theirs}.{kind}"]
    return {name: tensor.clone() for name, tensor in made.items()}


def test_without_layers_a_tower_gives_its_last_output(vision, whole):
    images = pixels(vision)
    assert whole.layers is None and len(whole.levels(images)) == 1
    assert torch.equal(whole(images), whole.backbone.forward_features(images))
    last = states(whole, images)[-1]
    assert torch.equal(whole(images), last) == (vision is EVA)  # timm's norm is behind it, EVA has none


def test_what_is_dropped_is_logged_and_nothing_else_is_dropped(vision, whole, weights, caplog):
    with caplog.at_level(logging.INFO):
        load_vision_weights(tower(vision, layers=[-2, 1]), weights)
    dropped = "tensors of blocks.3" + (", norm" if vision is CLIP else "")
    assert dropped in caplog.text
    tensors = whole.backbone.state_dict()
    tensors["extra.weight"] = torch.zeros(2)
    del tensors["blocks.1.norm1.weight"]
    save_file(tensors, weights)
    with pytest.raises(SkyEyeError, match=r"1 missing: blocks.1.norm1.weight; 1 unexpected: extra.weight"):
        load_vision_weights(tower(vision, layers=[-2]), weights)


@pytest.mark.parametrize("vision", [CLIP], ids=["timm"])
def test_a_tower_without_levels_drops_no_block_of_timm(whole, weights):
    shallow = replace(CLIP, arguments={**CLIP.arguments, "depth": 3})
    with pytest.raises(SkyEyeError, match="unexpected: blocks.3"):
        load_vision_weights(tower(shallow), weights)


def test_every_weight_of_a_level_gets_a_gradient_also_with_checkpointing(vision):
    made = tower(vision, layers=[0, 2])
    images, found = pixels(vision), []
    for checkpointing in (False, True):
        made.backbone.set_grad_checkpointing(checkpointing)
        made.zero_grad()
        made.train()(images).square().sum().backward()
        assert all(parameter.grad is not None for parameter in made.parameters())
        found.append([parameter.grad.clone() for parameter in made.parameters()])
    assert all(map(torch.equal, *found))


def test_the_shape_knows_the_levels(vision):
    shape = vision_shape(asdict(replace(vision, layers=[1, -2, 3])))
    width = 16 if vision is EVA else 24
    assert shape.widths == (width, width, width) and shape.width == 3 * width
    assert (shape.tokens, shape.prefix_tokens, shape.grid) == (16, 1, (4, 4))


@pytest.mark.parametrize("layers", [[5], [-6], [2, 9]])
def test_a_level_beyond_the_tower_is_refused(vision, layers):
    beyond = layers[-1]
    with pytest.raises(SkyEyeError, match=f"model.vision.layers: there is no level {beyond} in a tower of 4 blocks"):
        tower(vision, layers=layers)


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_levels_of_a_pyramid_are_refused(name):
    with pytest.raises(SkyEyeError, match="model.vision.layers: .* has no blocks of one width"):
        tower(VisionConfig(architecture="timm", name=name, image_size=224, layers=[1]))
