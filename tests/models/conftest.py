"""Models for the tests: the reference's weights, and a tiny one of our own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file

import skyeye.models  # noqa: F401  makes torchvision importable before transformers asks for it
from skyeye.config.schema import LanguageConfig, LoraConfig, ModelConfig, ProjectorConfig, VisionConfig
from skyeye.models.build import build_model
from skyeye.models.checkpoint import load_checkpoint


@pytest.fixture(scope="session")
def golden_config(golden) -> ModelConfig:
    """The reference's model, sizes from its own file."""
    sizes = json.loads((golden / "sizes.json").read_text())
    vision = sizes["vision"]
    return ModelConfig(
        vision=VisionConfig(
            image_size=vision["image_size"],
            patch_size=vision["patch"],
            width=vision["width"],
            depth=vision["depth"],
            heads=vision["heads"],
            mlp_ratio=vision["mlp_ratio"],
        ),
        projector=ProjectorConfig(join_tokens=sizes["projector"]["join_tokens"]),
        language=LanguageConfig(pretrained=str(golden / "tiny_llama")),
        lora=LoraConfig(**sizes["lora"]),
    )


@pytest.fixture(scope="session")
def loaded_golden_model(golden, golden_config):
    model = build_model(golden_config)
    load_checkpoint(model, golden / "model.safetensors")
    return model.eval()


@pytest.fixture
def golden_model(loaded_golden_model):
    """The reference's model with the reference's weights, loaded from its own file; a copy, to do anything with."""
    return copy.deepcopy(loaded_golden_model)


@pytest.fixture(scope="session")
def golden_vision(golden) -> dict[str, torch.Tensor]:
    return load_file(golden / "vision.safetensors")


@pytest.fixture(scope="session")
def golden_batch(golden, golden_vision) -> Callable[[str], tuple[dict, dict]]:
    """A function: name of a batch -> (inputs of the model, the file's tensors)."""

    def load(name: str) -> tuple[dict, dict]:
        tensors = load_file(golden / f"batch_{name}.safetensors")
        inputs = {key: tensors[key] for key in ("input_ids", "attention_mask", "labels")}
        if (tensors["input_ids"] == -1).any():
            images = int((tensors["input_ids"] == -1).sum()) // golden_vision["projected"].shape[1]
            inputs["pixel_values"] = golden_vision["pixels"][:images]
        return inputs, tensors

    return load


@pytest.fixture
def tiny_config() -> Callable[..., ModelConfig]:
    """A function that describes a model of a few thousand parameters; keyword arguments replace whole sections."""

    def config(**changes) -> ModelConfig:
        text = {
            "model_type": "llama",
            "vocab_size": 130,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 128,
        }
        sections = {
            "vision": VisionConfig(image_size=28, patch_size=7, width=16, depth=2, heads=2, mlp_ratio=2.0),
            "projector": ProjectorConfig(join_tokens=4),
            "language": LanguageConfig(config=text),
            "lora": LoraConfig(r=2, alpha=4, dropout=0.0),
        }
        return ModelConfig(**(sections | changes))

    return config


@pytest.fixture
def tiny_model(tiny_config):
    """A tiny model whose adapters do something: LoRA starts at zero effect, which would hide mistakes."""
    model = build_model(tiny_config())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.2)
    return model.eval()
