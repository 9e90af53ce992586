"""Folders in LHRS-Bot's layout: what is wrong with those that people have; sound ones are in test_golden_lhrs.py."""

from __future__ import annotations

import json

import pytest
import torch

from skyeye.errors import SkyEyeError
from skyeye.models.checkpoint import convert
from skyeye.models.pretrained import open_checkpoint


@pytest.fixture
def folder(tmp_path):
    """A folder with the parts of FINAL.pt, all empty but the pooler's query, and adapters of an absent model."""
    (tmp_path / "TextLoRA").mkdir()
    stated = {"base_model_name_or_path": "meta-llama/absent", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (tmp_path / "TextLoRA" / "adapter_config.json").write_text(json.dumps(stated))
    write(tmp_path, rgb_ckpt={"encoder.vision_model.pre_layrnorm.weight": torch.ones(4)})
    return tmp_path


def write(folder, **parts) -> None:
    other = {"rgb_pooler": {"query": torch.zeros(1, 3, 4)}, "embed_tokens": {}}
    torch.save({"model": {"other_ckpt": other, **parts}}, folder / "FINAL.pt")


def test_the_language_model_is_asked_for_by_its_name(folder, tmp_path):
    with pytest.raises(SkyEyeError, match="language model meta-llama/absent is not on this machine.*--base FOLDER"):
        open_checkpoint(folder)
    with pytest.raises(SkyEyeError, match="language model elsewhere/absent is not on this machine"):
        convert(folder, tmp_path / "ours", base="elsewhere/absent")


def test_other_files_than_the_model_that_is_named(folder):
    with pytest.raises(SkyEyeError, match="its files are of lhrs, not of geochat"):
        open_checkpoint(folder, family="geochat")


def test_a_file_that_lacks_a_part(folder):
    write(folder)
    with pytest.raises(SkyEyeError, match=r"FINAL.pt: holds no rgb_ckpt and rgb_pooler"):
        open_checkpoint(folder)
    torch.save([1, 2], folder / "FINAL.pt")
    with pytest.raises(SkyEyeError, match="FINAL.pt: holds a list, not named tensors"):
        open_checkpoint(folder)
