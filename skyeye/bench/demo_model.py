"""A model of the demo's shapes with random weights, as a checkpoint folder: what a server can be measured on."""

from __future__ import annotations

from pathlib import Path

import torch

from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    ModelConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.models.build import build_model
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import train_tokenizer
from skyeye.synth.scene import COLOURS, GROUNDS, KINDS

#: Two million parameters, 49 image tokens a picture: `configs/tiny.yaml`.
CONFIG = ModelConfig(
    vision=VisionConfig(
        architecture="timm",
        name="vit_tiny_patch16_224",
        image_size=112,
        stem="conv",
        arguments={"embed_dim": 128, "depth": 4, "num_heads": 4, "class_token": False},
    ),
    projector=LinearProjectorConfig(join_tokens=1),
    language=LanguageConfig(
        config={
            "model_type": "llama",
            "hidden_size": 128,
            "intermediate_size": 352,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
        }
    ),
    lora=LoraConfig(r=16, alpha=32, dropout=0.0, target_modules=["q_proj", "v_proj"]),
    prompt=PromptConfig(evaluation_layout="training"),
)


def write_demo_model(folder: Path) -> Path:
    """Write the checkpoint; the same weights every time."""
    words = [
        f"is there a {colour} {kind} in the {ground} ?" for colour in COLOURS for kind in KINDS for ground in GROUNDS
    ]
    tokenizer = train_tokenizer([*words, "where is the ?", "briefly describe the image", "yes no"], 1000)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(CONFIG, tokenizer)
    model.save_pretrained(folder)
    SkyEyeProcessor.from_config(CONFIG, tokenizer).save_pretrained(folder)
    return folder
