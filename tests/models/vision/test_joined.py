"""Several towers look at one picture, each at its own size; their features are joined."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from skyeye.config.schema import VisionConfig
from skyeye.data.images.load import to_pixels
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.vision import JoinedTowers, PixelTransform, VisionTower, build_tower, vision_shape
from skyeye.models.vision.joined import resize_tokens
from skyeye.models.vision.pixels import split_pixels

EVA = VisionConfig(image_size=28, patch_size=7, width=16, depth=2, heads=2, mlp_ratio=2.0)
CONV = VisionConfig(
    architecture="timm",
    name="convnext_atto",
    image_size=96,
    arguments={"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)},
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
)
TOWERS = [EVA, CONV]  # grids of 4 x 4 and 3 x 3


@pytest.fixture
def joined() -> JoinedTowers:
    return build_tower([asdict(vision) for vision in TOWERS]).eval()


@pytest.fixture
def picture() -> Image.Image:
    return Image.frombytes("RGB", (50, 40), torch.randint(0, 256, (6000,), dtype=torch.uint8).numpy().tobytes())


def test_each_tower_gets_the_pixels_it_would_get_alone(picture):
    transform = PixelTransform.of(TOWERS)
    pixels = transform(picture)
    assert pixels.shape == transform.shape == (3 * 28 * 28 + 3 * 96 * 96,)
    parts = split_pixels(pixels[None], [28, 96])
    for part, vision in zip(parts, TOWERS, strict=True):
        assert torch.equal(part[0], to_pixels(picture, vision.image_size, vision.mean, vision.std))
    assert PixelTransform.of(EVA)(picture).shape == PixelTransform.of(EVA).shape == (3, 28, 28)


def test_features_of_all_towers_lie_side_by_side(joined, picture):
    pixels = PixelTransform.of(TOWERS)(picture)[None]
    eva, conv = split_pixels(pixels, [28, 96])
    seen = joined(pixels)
    first, second = joined.towers
    assert torch.equal(seen[..., :16], first(eva)[:, 1:])  # its grid is the largest: unchanged, without class token
    grid = F.interpolate(second.backbone.forward_features(conv), size=(4, 4), mode="bilinear", align_corners=False)
    assert torch.equal(seen[..., 16:], grid.flatten(2).transpose(1, 2))
    assert torch.equal(joined.patches(pixels), seen)
    shape = vision_shape([asdict(vision) for vision in TOWERS])
    assert seen.shape == (1, shape.tokens, shape.width) == (1, 16, 24)
    assert (shape.prefix_tokens, shape.widths) == (0, (16, 8))


def test_a_smaller_first_tower_is_brought_to_the_grid_of_the_second():
    small = VisionConfig(image_size=14, patch_size=7, width=16, depth=1, heads=2, mlp_ratio=2.0)
    joined = build_tower([asdict(small), asdict(EVA)])
    seen = joined(torch.randn(3, 3 * 14 * 14 + 3 * 28 * 28))
    assert seen.shape == (3, 16, 32) and vision_shape([asdict(small), asdict(EVA)]).tokens == 16


def test_resizing_keeps_raster_order():
    rows = torch.arange(9.0).reshape(1, 9, 1)
    assert resize_tokens(rows, 3) is rows
    larger = resize_tokens(rows, 6).reshape(6, 6)
    assert (larger.diff(dim=0) >= 0).all() and (larger.diff(dim=1) >= 0).all()
    assert larger[5, 0] > larger[0, 5]


def test_tokens_that_form_no_square_cannot_be_joined():
    with pytest.raises(SkyEyeError, match="8 tokens of a tower form no square grid"):
        resize_tokens(torch.zeros(1, 8, 2), 4)


def test_one_tower_is_no_list():
    assert isinstance(build_tower(asdict(EVA)), VisionTower)
    assert build_tower(asdict(EVA)).towers[0].backbone is not None


def test_each_tower_starts_from_its_own_weights(tiny_config, tmp_path):
    config = tiny_config(vision=[EVA, VisionConfig(**{**asdict(CONV), "layers": None})])
    config.projector.join_tokens = 1
    source = build_model(config)
    for number, (tower, section) in enumerate(zip(source.vision_tower.towers, config.vision, strict=True)):
        section.weights = str(tmp_path / f"{number}.safetensors")
        save_file(tower.backbone.state_dict(), section.weights)
    torch.manual_seed(1)
    again = build_model(config)
    ours, theirs = again.vision_tower.state_dict(), source.vision_tower.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not torch.equal(again.projector.linear.weight, source.projector.linear.weight)
    assert again.config.towers[0]["weights"] is None and again.config.towers[1]["weights"] is None
