"""Checkpoints to export, as training leaves them."""

from __future__ import annotations

import pytest
import torch

from skyeye.config.schema import (
    LanguageConfig,
    LoraConfig,
    MLPProjectorConfig,
    ModelConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.models.adapters import plain_name
from skyeye.models.base import base_of
from skyeye.models.build import build_model
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.save import save_checkpoint
from skyeye.models.tokenizer import train_tokenizer

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def whole(parts, tmp_path):
    """A checkpoint that holds everything, adapters that add something included."""
    model, processor = parts
    folder = tmp_path / "runs/harbour/checkpoints/adapt"
    save_checkpoint(folder, model, model.state_dict(), processor=processor)
    return folder


@pytest.fixture
def based(parts, tmp_path):
    """A checkpoint that leaves out its language model, and the model section that says where that lies."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = parts[1].tokenizer
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES)).save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    config = ModelConfig(
        vision=VisionConfig(image_size=28, patch_size=14, width=8, depth=1, heads=2, mlp_ratio=2.0),
        language=LanguageConfig(pretrained=str(tmp_path / "llama")),
        lora=LoraConfig(r=2),
    )
    model, base = build_model(config, tokenizer), base_of(config, {"language"})
    ignored = model._keys_to_ignore_on_save or ()
    held = {n: t for n, t in model.state_dict().items() if n not in ignored and not base.covers(plain_name(n))}
    save_checkpoint(tmp_path / "trained", model, held, base, SkyEyeProcessor.from_config(config, tokenizer))
    return tmp_path / "trained", config


@pytest.fixture
def llava_shaped(tmp_path):
    """A checkpoint of LLaVA's shape."""
    torch.manual_seed(1)
    words = ["Describe the image.", "two ships", "USER: ASSISTANT: A chat between a curious user"]
    tokenizer = train_tokenizer(words * 3, 600)
    tower = {"architecture": "clip", "layers": [-2], "resize": "pad", "depth": 2}
    config = ModelConfig(
        vision=VisionConfig(image_size=28, patch_size=14, width=16, heads=2, mlp_ratio=2.0, **tower),
        vision_norm=False,
        projector=MLPProjectorConfig(join_tokens=1),
        language=LanguageConfig(config={"model_type": "llama", "max_position_embeddings": 512, **SIZES}),
        lora=LoraConfig(r=2, target_modules=["q_proj", "v_proj"]),
        prompt=PromptConfig(style="llava_v1", pad_token=None),
    )
    model = build_model(config, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    folder = tmp_path / "llava_shaped"
    save_checkpoint(folder, model, model.state_dict(), processor=SkyEyeProcessor.from_config(config, tokenizer))
    return folder
