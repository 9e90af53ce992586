"""Names of published vision towers, against the library that defines them."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close
from transformers import CLIPVisionConfig, CLIPVisionModel

from skyeye.config.schema import VisionConfig
from skyeye.errors import SkyEyeError
from skyeye.models.converters.clip import hugging_face_tensors, timm_tensors, tower_section
from skyeye.models.vision import VisionTower, load_vision_weights

SIZES = {"image_size": 28, "patch_size": 7, "width": 16, "depth": 3, "heads": 2, "mlp_ratio": 2.0}


@pytest.fixture(params=["quick_gelu", "gelu"])
def theirs(request, tmp_path):
    """(a tower of transformers, its folder)."""
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=28,
        patch_size=7,
        hidden_act=request.param,
    )
    model = CLIPVisionModel(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3)
    model.save_pretrained(tmp_path / "tower")
    return model, tmp_path / "tower"


@torch.no_grad()
def test_a_folder_of_transformers_is_the_same_tower(theirs):
    model, folder = theirs
    section = tower_section(folder)
    assert section == {**SIZES, "architecture": "clip", "activation": model.config.hidden_act}
    tower = VisionTower(asdict(VisionConfig(**section, layers=[0, 2, 3]))).eval()
    load_vision_weights(tower, folder)
    pixels = torch.randn(2, 3, 28, 28)
    states = model(pixels, output_hidden_states=True).hidden_states
    for level, expected in zip(tower.levels(pixels), [states[0], states[2], states[3]], strict=True):
        assert_close(level, expected, atol=2e-5, rtol=1e-5)
    whole = VisionTower(asdict(VisionConfig(**section))).eval()
    load_vision_weights(whole, folder)
    assert_close(whole(pixels), _inner(model).post_layernorm(states[-1]), atol=2e-5, rtol=1e-5)


def _inner(model: CLIPVisionModel) -> torch.nn.Module:
    """The tower; some versions of transformers wrap it."""
    return getattr(model, "vision_model", model)


def test_another_activation_is_refused_because_no_tensor_shows_it(theirs):
    model, folder = theirs
    other = {"gelu": "quick_gelu", "quick_gelu": "gelu"}[model.config.hidden_act]
    tower = VisionTower(asdict(VisionConfig(**SIZES, architecture="clip", activation=other)))
    with pytest.raises(
        SkyEyeError, match=f"trained with activation {model.config.hidden_act}, the recipe says {other}"
    ):
        load_vision_weights(tower, folder)
    sizes = {**SIZES, "heads": 4, "activation": model.config.hidden_act}
    headed = VisionTower(asdict(VisionConfig(**sizes, architecture="clip")))
    with pytest.raises(SkyEyeError, match="trained with heads 2, the recipe says 4"):
        load_vision_weights(headed, folder)


def test_names_survive_there_and_back():
    tower = VisionTower(asdict(VisionConfig(**SIZES, architecture="clip")))
    ours = dict(tower.backbone.state_dict())
    theirs = hugging_face_tensors(ours)
    assert theirs["vision_model.embeddings.class_embedding"].shape == (16,)
    back, others = timm_tensors({f"model.vision_tower.vision_tower.{name}": t for name, t in theirs.items()})
    assert not others and back.keys() == ours.keys() and all(torch.equal(back[name], t) for name, t in ours.items())


def test_a_head_that_is_missing_is_named(tmp_path):
    tower = VisionTower(asdict(VisionConfig(**SIZES, architecture="clip")))
    found = hugging_face_tensors(dict(tower.backbone.state_dict()))
    del found["vision_model.encoder.layers.1.self_attn.k_proj.weight"]
    save_file({name: tensor.clone() for name, tensor in found.items()}, tmp_path / "part.safetensors")
    with pytest.raises(SkyEyeError, match="missing: blocks.1.attn.qkv.weight"):
        load_vision_weights(tower, tmp_path / "part.safetensors")


def test_graft_is_a_tower_of_transformers_behind_its_own_name(theirs, tmp_path):
    model, folder = theirs
    stored = {f"satellite_image_backbone.vision_model.{name}": t for name, t in _inner(model).state_dict().items()}
    stored["satellite_image_backbone.visual_projection.weight"] = torch.zeros(8, 16)
    stored |= {"projector.0.weight": torch.ones(16), "projector.1.weight": torch.zeros(8, 16)}
    torch.save({"state_dict": stored}, tmp_path / "graft.ckpt")
    ours, plain = (VisionTower(asdict(VisionConfig(**tower_section(folder)))).eval() for _ in range(2))
    load_vision_weights(ours, tmp_path / "graft.ckpt")
    load_vision_weights(plain, folder)
    pixels = torch.randn(1, 3, 28, 28)
    assert torch.equal(ours(pixels), plain(pixels))


@torch.no_grad()
def test_a_resnet_of_open_clip(tmp_path):
    modified_resnet = pytest.importorskip("open_clip.modified_resnet")
    theirs = modified_resnet.ModifiedResNet([3, 4, 6, 3], output_dim=8, heads=8, image_size=64, width=64).eval()
    torch.save({f"visual.{name}": t for name, t in theirs.state_dict().items()}, tmp_path / "RN50.pt")
    section = VisionConfig(architecture="timm", name="resnet50_clip", image_size=64)
    tower = VisionTower(asdict(section)).eval()
    load_vision_weights(tower, tmp_path / "RN50.pt")
    pixels = torch.randn(1, 3, 64, 64)
    expected = theirs.stem(pixels)
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        expected = layer(expected)
    assert_close(tower(pixels), expected.flatten(2).transpose(1, 2), atol=1e-4, rtol=1e-4)
