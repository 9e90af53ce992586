"""Recipes of published shapes without a file behind them: what is measured with random weights on any machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from skyeye.bench.full_size.sizes import Size
from skyeye.bench.full_size.weights import language_settings
from skyeye.data.files import write_whole

#: SmolLM2-135M behind the first eight blocks of DINOv2-small, as ``configs/pocket.yaml`` joins them.
POCKET = {
    "vision": {"architecture": "timm", "name": "vit_small_patch14_dinov2", "image_size": 224, "layers": [8]},
    "vision_norm": False,
    "projector": {"type": "linear", "join_tokens": 4},
    "language": {
        "config": {
            "model_type": "llama",
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rope_theta": 100000.0,
            "tie_word_embeddings": True,
        }
    },
    "lora": {
        "r": 64,
        "dropout": 0.0,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    },
}


def published(size: Size) -> dict[str, Any]:
    """The model section of SkyEyeGPT's shapes, or of smaller ones."""
    vision = {key: value for key, value in asdict(size.vision).items() if value is not None}
    return {
        "vision": vision,
        "projector": {"type": "linear", "join_tokens": 4},
        "language": {"config": language_settings(size.layers, size.width)},
        "lora": {"r": 64, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]},  # dropout: see skyeye.bench.model
    }


def smaller(model: dict[str, Any]) -> dict[str, Any]:
    """The same with two layers and narrow ones, and small pictures."""
    config = {**model["language"]["config"], "num_hidden_layers": 2, "hidden_size": 144, "intermediate_size": 288}
    return {**model, "language": {"config": config}, "vision": {**model["vision"], "image_size": 56}}


def write_shapes(path: Path, model: dict[str, Any]) -> str:
    """A recipe that trains adapters and projector of a model in one stage; its path."""
    optimizer = {"lr": 1e-5, "min_lr": 1e-6, "warmup_lr": 1e-6, "warmup_steps": 1}
    stage = {"name": "only", "mixture": [{"source": "none"}], "steps": 2, "images_per_step": 4, "optimizer": optimizer}
    content = {
        "name": path.stem,
        "output_dir": str(path.with_suffix("")),
        "seed": 1,
        "model": {**model, "tokenizer": {"train_vocab_size": 1000}},
        "sources": {"none": {"format": "synthetic", "path": "none"}},
        "stages": [stage],
    }
    write_whole(path, yaml.safe_dump(content, sort_keys=False))
    return str(path)
