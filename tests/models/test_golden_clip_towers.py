"""The vision towers of RemoteCLIP, GeoRSCLIP and SkyCLIP in each layout of their files, against open_clip."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from golden_models import need, read_json, tensors
from torch.testing import assert_close

from skyeye.config.schema import VisionConfig
from skyeye.data.images.load import load_image
from skyeye.models.vision import PixelTransform, VisionTower, load_vision_weights

pytestmark = pytest.mark.golden

#: File -> the model that it holds.
FILES = {
    "RemoteCLIP-tiny.pt": "remoteclip",
    "SkyCLIP-tiny-epoch_20.pt": "gelu",
    "RS5M-tiny-old.pt": "georsclip",
    "RS5M-tiny.pt": "georsclip",
}
TOKENS = {"atol": 6e-6, "rtol": 0}


@pytest.fixture(scope="module")
def golden():
    return need("clip_towers")


def tower(golden, name: str, file: str, **settings) -> VisionTower:
    model = read_json(golden / "sizes.json")["models"][name]
    vision = model["vision"]
    section = VisionConfig(
        architecture="clip",
        width=vision["width"],
        depth=vision["layers"],
        heads=vision["width"] // vision["head_width"],
        patch_size=vision["patch_size"],
        mlp_ratio=vision["mlp_ratio"],
        activation="quick_gelu" if model["quick_gelu"] else "gelu",
        **{"image_size": vision["image_size"], **settings},
    )
    made = VisionTower(asdict(section)).eval()
    load_vision_weights(made, golden / file, torch.float32)
    return made


@pytest.fixture(scope="module")
def pixels(golden):
    return tensors(golden / "remoteclip.safetensors")["pixels"]


def test_pixels(golden, pixels):
    sizes = read_json(golden / "sizes.json")
    size = sizes["models"]["remoteclip"]["vision"]["image_size"]
    transform = PixelTransform(size, sizes["image_mean"], sizes["image_std"], "crop")
    compared = 0
    for name, expected in zip(sizes["images"], pixels, strict=True):
        picture = load_image(golden / "images" / name)
        longer = int(size * max(picture.size) / min(picture.size))
        if (longer - size) % 2:
            continue  # torchvision rounds half a pixel to an even one, transformers, which is followed, down
        assert_close(transform(picture), expected, atol=1e-6, rtol=0)
        compared += 1
    assert compared


@torch.no_grad()
@pytest.mark.parametrize("file", FILES)
def test_blocks_and_last_tokens(golden, pixels, file):
    stored = tensors(golden / f"{FILES[file]}.safetensors")
    depth = read_json(golden / "sizes.json")["models"][FILES[file]]["vision"]["layers"]
    levels = tower(golden, FILES[file], file, layers=list(range(depth + 1))).levels(pixels[:3])
    assert_close(levels[0][:1], stored["image0.after_ln_pre"].view_as(levels[0][:1]), **TOKENS)
    for number in range(depth):
        assert_close(levels[number + 1][:1], stored[f"visual.block{number}.image0"].view_as(levels[0][:1]), **TOKENS)
    assert_close(levels[-1], stored["visual.last_block_tokens"], **TOKENS)
    normed = tower(golden, FILES[file], file)
    expected = stored["visual.tokens_after_ln_post_without_class"]
    assert_close(normed.patches(pixels[: len(expected)]), expected, **TOKENS)


@torch.no_grad()
@pytest.mark.parametrize("file", ["RemoteCLIP-tiny.pt", "SkyCLIP-tiny-epoch_20.pt"])
def test_positions_are_stretched_as_open_clip_does(golden, file):
    stored = tensors(golden / f"{FILES[file]}.safetensors")
    size = read_json(golden / "sizes.json")["models"][FILES[file]]["stretched_image_size"]
    made = tower(golden, FILES[file], file, image_size=size, position_resize="antialias")
    expected = stored["stretched.position_embedding"]
    assert_close(made.backbone.pos_embed.reshape(expected.shape), expected, atol=2e-6, rtol=0)
