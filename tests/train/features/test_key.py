"""A cache that was made from anything else is refused, and the refusal says what differs."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skyeye.config.load import load_recipe
from skyeye.config.schema import MixtureEntry, StageConfig
from skyeye.errors import SkyEyeError
from skyeye.models.configuration import vision_fields
from skyeye.models.vision import build_tower
from skyeye.train.features import key
from skyeye.train.features.key import made_from, refuse_inexact, refuse_other, weights_digest
from skyeye.train.features.store import FeatureReader, FeatureWriter
from skyeye.train.loader import load_pixels


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image_size": 35}, "transform.image_size: 28 in the cache, 35 here"),
        ({"mean": (0.5, 0.5, 0.5)}, "transform.mean"),
        ({"std": (0.5, 0.5, 0.5)}, "transform.std"),
        ({"heads": 4}, "tower.heads: 2 in the cache, 4 here"),
        ({"arguments": {"qkv_fused": True}}, "tower.arguments"),
    ],
)
def test_another_transform_or_tower_is_refused(build, pictures, tower, vision, tmp_path, change, named):
    build(tmp_path / "cache", pictures[:4])
    other = made_from(tower, dataclasses.replace(vision, **change), "fp32", "fp32")
    with pytest.raises(SkyEyeError, match="made from something else and is not used") as refusal:
        FeatureReader(tmp_path / "cache", other)
    assert named in str(refusal.value)
    with pytest.raises(SkyEyeError, match="not used"):
        FeatureWriter(tmp_path / "cache", other, {})


def test_levels_and_towers_are_part_of_what_a_cache_is_made_from(tower, vision):
    made = made_from(tower, vision, "fp32", "fp32")
    assert "layers" not in made["tower"]  # as in caches that are older than levels
    leveled = dataclasses.replace(vision, layers=[1])
    other = made_from(build_tower(vision_fields(leveled)), leveled, "fp32", "fp32")
    assert other["tower"]["layers"] == [1] and other["tower"]["level_norm"] is False
    both = [vision, dataclasses.replace(leveled, image_size=14, mean=(0.5, 0.5, 0.5))]
    joined = made_from(build_tower(vision_fields(both)), both, "fp32", "fp32")
    assert joined["row"] == {"dtype": "fp32", "patches": 16, "width": 32}
    assert joined["transform"]["image_size"] == [28, 14] and joined["transform"]["mean"][1] == [0.5, 0.5, 0.5]
    assert [one.get("layers") for one in joined["tower"]["towers"]] == [None, [1]]
    with pytest.raises(SkyEyeError, match="tower.architecture: eva in the cache, joined here"):
        refuse_other(Path("cache"), made, joined)


def test_other_weights_are_refused_be_it_by_one_bit(build, pictures, tower, vision, tmp_path):
    build(tmp_path / "cache", pictures[:4])
    weight = tower.backbone.blocks[0].mlp.fc1.weight
    with torch.no_grad():
        weight.view(torch.int32)[0, 0] ^= 1
    with pytest.raises(SkyEyeError, match="tower.weights") as refusal:
        FeatureReader(tmp_path / "cache", made_from(tower, vision, "fp32", "fp32"))
    assert "tower.heads" not in str(refusal.value)


@pytest.mark.parametrize(
    ("precision", "dtype", "named"), [("bf16", "fp32", "precision"), ("fp32", "bf16", "row.dtype")]
)
def test_other_arithmetic_or_rounding_is_refused(build, pictures, tower, vision, tmp_path, precision, dtype, named):
    build(tmp_path / "cache", pictures[:4])
    with pytest.raises(SkyEyeError, match=rf"; {named}: fp32 in the cache, bf16 here"):
        FeatureReader(tmp_path / "cache", made_from(tower, vision, precision, dtype))


def test_a_new_version_of_the_transform_is_refused(build, pictures, tower, vision, tmp_path, monkeypatch):
    build(tmp_path / "cache", pictures[:4])
    monkeypatch.setattr(key, "TRANSFORM", key.TRANSFORM + 1)
    with pytest.raises(SkyEyeError, match="transform.version"):
        FeatureReader(tmp_path / "cache", made_from(tower, vision, "fp32", "fp32"))


def test_the_pixels_of_this_version_of_the_transform(tmp_path, vision):
    """If this or tests/data/test_images.py fails because pixels were changed on purpose, raise ``TRANSFORM``."""
    assert key.TRANSFORM == 2
    ramp = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    image = Image.fromarray(ramp)
    exif = image.getexif()
    exif[0x0112] = 6  # to be shown turned right by a quarter
    image.save(tmp_path / "ramp.png", exif=exif)
    plain = dataclasses.replace(vision, image_size=4, mean=(0.0, 0.1, 0.2), std=(1.0, 0.5, 0.25))
    pixels = load_pixels(str(tmp_path / "ramp.png"), plain)
    turned = np.rot90(ramp / 255, k=-1).transpose(2, 0, 1)
    expected = (turned - np.array([[[0.0]], [[0.1]], [[0.2]]])) / np.array([[[1.0]], [[0.5]], [[0.25]]])
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-6)


def test_files_of_another_version_or_changed_by_hand_are_refused(build, pictures, tmp_path):
    build(tmp_path / "cache", pictures[:4])
    path = tmp_path / "cache" / "manifest.json"
    whole = json.loads(path.read_text())

    def refused(change) -> str:
        content = copy.deepcopy(whole)
        change(content)
        path.write_text(json.dumps(content))
        with pytest.raises(SkyEyeError) as refusal:
            FeatureReader(tmp_path / "cache")
        return str(refusal.value)

    assert "version 2; this skyeye reads and writes version 1" in refused(lambda c: c.update(skyeye_feature_cache=2))
    assert "does not fit its key" in refused(lambda c: c["made_from"]["row"].update(width=8))
    assert "not the manifest" in refused(lambda c: c.pop("made_from"))
    path.write_text("{")
    with pytest.raises(SkyEyeError, match="not the manifest"):
        FeatureReader(tmp_path / "cache")
    path.unlink()
    with pytest.raises(SkyEyeError, match="is no feature cache"):
        FeatureReader(tmp_path / "cache")


def test_every_difference_is_named_and_equal_ones_are_not(tmp_path):
    there = {"tower": {"weights": "a" * 64, "arguments": {"x": 1}}, "precision": "fp32"}
    here = {"tower": {"weights": "b" * 64, "arguments": {"x": 1}}, "precision": "bf16"}
    refuse_other(tmp_path, there, copy.deepcopy(there))
    with pytest.raises(SkyEyeError) as refusal:
        refuse_other(tmp_path, there, here)
    text = str(refusal.value)
    assert "tower.weights: aaaaaaaaaaaa... in the cache, bbbbbbbbbbbb... here" in text and "arguments" not in text
    assert "precision: fp32 in the cache, bf16 here" in text


def test_a_digest_covers_names_types_shapes_and_values(tower):
    digests = {weights_digest(tower)}
    tower.backbone.cls_token.data = tower.backbone.cls_token.data.clone().add_(1.0)
    digests.add(weights_digest(tower))
    bias = tower.backbone.blocks[0].mlp.fc1.bias
    bias.data = bias.data.view(2, -1)
    digests.add(weights_digest(tower))
    digests.add(weights_digest(tower.to(torch.bfloat16)))
    assert len(digests) == 4


def test_a_stage_that_trains_the_tower_has_no_cache(recipe, tower, tmp_path):
    stage = StageConfig(name="s", mixture=[MixtureEntry(source="w")], steps=2)
    refuse_inexact(stage, tower)
    with pytest.raises(SkyEyeError, match="stages.s.feature_cache: the stage trains the tower"):
        refuse_inexact(dataclasses.replace(stage, vision="full"), tower)
    tower.backbone.cls_token.requires_grad_(True)
    with pytest.raises(SkyEyeError, match="trains the tower"):
        refuse_inexact(stage, tower)
    load_recipe(recipe(), [f"stages.single_task.feature_cache={tmp_path}"])
    with pytest.raises(SkyEyeError, match=r"stages\[0\].feature_cache: holds what a frozen tower sees, and this stage"):
        load_recipe(recipe(), [f"stages.pretrain.feature_cache={tmp_path}"])
