"""A checkpoint whose weights fit, and which was trained in another model."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from skyeye.config.schema import LanguageConfig, LoraConfig, PromptConfig, VisionConfig
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.checkpoint import convert, load_checkpoint
from skyeye.models.described import check_processing
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import train_tokenizer


@pytest.fixture
def trained(tiny_model, tmp_path):
    """A directory of the tiny model: alpha 4, 2 heads, rope's usual base."""
    tiny_model.save_pretrained(tmp_path / "trained")
    return tmp_path / "trained"


def _language(tiny_config, **changes) -> LanguageConfig:
    return LanguageConfig(config=tiny_config().language.config | changes)


def _vision(tiny_config, **changes) -> VisionConfig:
    return dataclasses.replace(tiny_config().vision, **changes)


def test_what_fits_is_loaded_and_dropout_is_nobodys_business(tiny_config, trained):
    load_checkpoint(build_model(tiny_config(lora=LoraConfig(r=2, alpha=4, dropout=0.5))), trained)


def test_adapters_with_another_alpha_are_refused(tiny_config, trained, tmp_path):
    other = build_model(tiny_config(lora=LoraConfig(r=2, alpha=32, dropout=0.0)))
    told = r"model.lora.alpha is 4 there and 32 here \(set model.lora.alpha: 4\)"
    with pytest.raises(SkyEyeError, match=told):
        load_checkpoint(other, trained)
    for everything in (False, True):  # a file says it, too
        convert(trained, tmp_path / f"{everything}.pth", everything=everything)
        with pytest.raises(SkyEyeError, match=told):
            load_checkpoint(other, tmp_path / f"{everything}.pth")


def test_a_file_of_the_reference_says_its_alpha(tiny_config, trained, tmp_path):
    convert(trained, tmp_path / "ours.pth")
    content = torch.load(tmp_path / "ours.pth", weights_only=True)
    content["config"] = {"model": {"arch": "minigpt_v2", "lora_r": 2, "lora_alpha": 16}}
    torch.save(content, tmp_path / "theirs.pth")
    with pytest.raises(SkyEyeError, match="model.lora.alpha is 16 there and 4 here"):
        load_checkpoint(build_model(tiny_config()), tmp_path / "theirs.pth")


def test_adapters_that_are_still_zero_may_go_on_under_another_alpha(tiny_config, tmp_path):
    build_model(tiny_config()).save_pretrained(tmp_path / "fresh")
    load_checkpoint(build_model(tiny_config(lora=LoraConfig(r=2, alpha=32, dropout=0.0))), tmp_path / "fresh")


def test_heads_norms_and_rotations_that_no_shape_tells_are_refused_together(tiny_config, trained):
    other = tiny_config(
        vision=_vision(tiny_config, heads=4), language=_language(tiny_config, rms_norm_eps=1e-3, num_attention_heads=2)
    )
    with pytest.raises(SkyEyeError) as raised:
        load_checkpoint(build_model(other), trained)
    assert "model.vision.heads is 2 there and 4 here" in str(raised.value)
    assert "model.language.config.rms_norm_eps is 1e-06 there and 0.001 here" in str(raised.value)
    assert str(raised.value).endswith("(set model.vision.heads: 2, model.language.config.rms_norm_eps: 1e-06)")


def test_levels_of_the_tower_are_compared(tiny_config, tmp_path):
    build_model(tiny_config(vision=_vision(tiny_config, layers=[-1]))).save_pretrained(tmp_path / "last")
    with pytest.raises(SkyEyeError, match=r"model.vision.layers is \[-1\] there and None here"):
        load_checkpoint(build_model(tiny_config()), tmp_path / "last")


def test_a_longer_context_is_another_length_and_the_same_model(tiny_config, trained):
    load_checkpoint(build_model(tiny_config(language=_language(tiny_config, max_position_embeddings=256))), trained)


@pytest.fixture
def processor(tiny_config):
    """A function: the processor of the tiny model, with changes, and a tokenizer that is learnt from these words."""

    def make(words: str = "a plane on a runway", **changes) -> SkyEyeProcessor:
        return SkyEyeProcessor.from_config(tiny_config(**changes), train_tokenizer([words], 2000))

    return make


def test_other_pixels_and_prompts_are_told(tiny_config, processor, trained):
    processor().save_pretrained(trained)
    assert check_processing(processor(), trained) == []
    mean = _vision(tiny_config, mean=(0.5, 0.5, 0.5))
    lines = check_processing(processor(vision=mean, prompt=PromptConfig(template="Q: {}")), trained)
    assert [line.split(";")[0] for line in lines] == [
        "model.vision.mean is [0.5, 0.5, 0.5]",
        "model.prompt.template is Q: {}",
    ]
    assert json.loads(lines[0].split("trained with ")[1])[0] == 0.48145466


def test_another_tokenizer_is_refused_also_of_the_same_size(processor, trained):
    processor().save_pretrained(trained)
    with pytest.raises(SkyEyeError, match=r"another tokenizer: \d+ of its \d+ tokens .*\(set model.tokenizer: \{path"):
        check_processing(processor("a ferry in a harbour"), trained)
    check_processing(processor("a plane on a runway a a on runway plane harbour"), trained)  # further words behind
