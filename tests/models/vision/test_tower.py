"""Any timm model can be the tower; published weights load strictly."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from skyeye.config.schema import VisionConfig
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.vision import VisionTower, load_vision_weights, resize_position_embedding, vision_shape

TINY = VisionConfig(image_size=28, patch_size=7, width=16, depth=2, heads=2, mlp_ratio=2.0)
TIMM = {
    "vit_tiny_patch16_224": {"embed_dim": 24, "depth": 1, "num_heads": 2},
    "vit_base_patch16_siglip_224": {"embed_dim": 24, "depth": 1, "num_heads": 2},
    "vit_base_patch14_reg4_dinov2": {"embed_dim": 24, "depth": 1, "num_heads": 2, "patch_size": 16},
    "resnet10t.c3_in1k": {},
    "swin_tiny_patch4_window7_224": {"embed_dim": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)},
}


@pytest.mark.parametrize("name", TIMM)
def test_any_timm_model(tiny_config, name):
    size = 224 if "swin" in name else 64
    vision = VisionConfig(architecture="timm", name=name, image_size=size, arguments=TIMM[name])
    config = tiny_config(vision=vision)
    config.projector.join_tokens = 1
    model = build_model(config)
    shape = vision_shape(asdict(vision))
    pixels = torch.randn(2, 3, size, size)
    tokens = model.vision_tower(pixels)
    assert tokens.shape == (2, shape.prefix_tokens + shape.tokens, shape.width)
    features = model.encode_images(pixels)
    assert features.shape == (2, model.config.tokens_per_image, 16)
    features.square().sum().backward()
    model.set_trainable(vision="full")
    model.encode_images(pixels).square().sum().backward()
    unused = [name for name, p in model.vision_tower.named_parameters() if p.grad is None]
    assert not unused  # a parameter without gradient stops DDP


def test_a_feature_map_is_read_in_raster_order():
    tower = VisionTower(asdict(VisionConfig(architecture="timm", name="resnet10t", image_size=64))).eval()
    pixels = torch.randn(1, 3, 64, 64)
    tokens = tower(pixels)
    grid = tower.backbone.forward_features(pixels)
    assert torch.equal(tokens[0, 1], grid[0, :, 0, 1])
    assert torch.equal(tokens[0, 2], grid[0, :, 1, 0]) and not torch.equal(tokens[0, 2], tokens[0, 1])


def test_the_flattened_map_of_an_unknown_kind():
    tower = VisionTower(asdict(VisionConfig(architecture="timm", name="resnet10t", image_size=64)))
    tower.backbone.forward_features = lambda pixels: {"features": pixels}
    with pytest.raises(SkyEyeError, match="neither tokens nor a feature map"):
        tower(torch.zeros(1, 3, 64, 64))


def test_unknown_timm_model():
    vision = asdict(VisionConfig(architecture="timm", name="vit_tinny_patch16_224", image_size=64))
    with pytest.raises(SkyEyeError, match="timm has no model 'vit_tinny_patch16_224'.*vit_tiny"):
        VisionTower(vision)


def test_unknown_argument():
    vision = asdict(VisionConfig(architecture="timm", name="resnet10t", image_size=64, arguments={"widht": 3}))
    with pytest.raises(SkyEyeError, match="model.vision.arguments: .*widht"):
        VisionTower(vision)


class TestWeights:
    @pytest.fixture
    def tensors(self) -> dict[str, torch.Tensor]:
        return VisionTower(asdict(TINY)).backbone.state_dict()

    @pytest.mark.parametrize("suffix", ["safetensors", "pth", "pth-with-model"])
    def test_files(self, tensors, tmp_path, suffix):
        path = tmp_path / f"eva.{suffix}"
        if suffix == "safetensors":
            save_file(tensors, path)
        else:
            torch.save({"model": tensors} if "with" in suffix else tensors, path)
        tower = VisionTower(asdict(TINY))
        load_vision_weights(tower, path)
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in tower.backbone.state_dict().items())

    def test_every_difference_is_named(self, tensors, tmp_path):
        del tensors["cls_token"], tensors["blocks.1.norm1.weight"]
        tensors["blocks.0.norm9.weight"] = torch.zeros(3)
        tensors["patch_embed.proj.bias"] = torch.zeros(17)
        save_file(tensors, tmp_path / "eva.safetensors")
        with pytest.raises(SkyEyeError) as error:
            load_vision_weights(VisionTower(asdict(TINY)), tmp_path / "eva.safetensors")
        message = str(error.value)
        assert "2 missing: cls_token, blocks.1.norm1.weight" in message
        assert "1 unexpected: blocks.0.norm9.weight" in message
        assert "1 mis-shaped: patch_embed.proj.bias is (17,), expected (16,)" in message

    def test_a_deeper_tower_is_refused(self, tensors, tmp_path):
        save_file(tensors, tmp_path / "eva.safetensors")
        deeper = asdict(TINY) | {"depth": 3}
        with pytest.raises(SkyEyeError, match="missing: blocks.2"):
            load_vision_weights(VisionTower(deeper), tmp_path / "eva.safetensors")

    @pytest.mark.parametrize(
        ("content", "kind"),
        [(b"", "it is empty"), (b"<html>404</html>", "it is a web page"), (b"PK\x03\x04 cut short", "")],
    )
    def test_not_a_weights_file(self, tmp_path, content, kind):
        path = tmp_path / "eva.pth"
        path.write_bytes(content)
        with pytest.raises(SkyEyeError, match=rf"eva\.pth: not a readable PyTorch weights file: {kind}"):
            load_vision_weights(VisionTower(asdict(TINY)), path)

    def test_damaged_safetensors(self, tmp_path):
        path = tmp_path / "eva.safetensors"
        path.write_bytes(b"\x08\0\0\0\0\0\0\0{}")
        with pytest.raises(SkyEyeError, match=r"eva\.safetensors"):
            load_vision_weights(VisionTower(asdict(TINY)), path)

    def test_missing_file(self, tmp_path):
        with pytest.raises(SkyEyeError, match="no such weights file"):
            load_vision_weights(VisionTower(asdict(TINY)), tmp_path / "nothing.pth")

    def test_code_in_a_file_is_not_run(self, tmp_path):
        class Code:
            def __reduce__(self):
                return print, ("run",)

        torch.save({"model": Code()}, tmp_path / "eva.pth")
        with pytest.raises(SkyEyeError, match="not a readable PyTorch weights file"):
            load_vision_weights(VisionTower(asdict(TINY)), tmp_path / "eva.pth")


def test_position_embedding_must_be_square():
    with pytest.raises(SkyEyeError, match="not square"):
        resize_position_embedding(torch.zeros(1, 8, 4), 17)


def test_half_weights_are_those_of_the_reference():
    tower = VisionTower(asdict(TINY))
    tower.half_weights()
    halved = {name for name, p in tower.named_parameters() if p.dtype == torch.float16}
    assert "backbone.patch_embed.proj.weight" in halved and "backbone.blocks.0.mlp.fc1.bias" in halved
    exact = {
        name.split(".")[-2] + "." + name.split(".")[-1] for name, _ in tower.named_parameters() if name not in halved
    }
    assert exact == {
        "backbone.cls_token", "backbone.pos_embed", "attn.q_bias", "attn.v_bias",
        "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias",
    }  # fmt: skip
