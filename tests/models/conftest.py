"""Models for the tests: the reference's weights, and a tiny one of our own."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import skyeye.models  # noqa: F401  makes torchvision importable before transformers asks for it
from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    ModelConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.models.build import build_model
from skyeye.models.checkpoint import load_checkpoint

sys.path.append(str(Path(__file__).parent))  # tiny_batches.py is imported by tests


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
        projector=LinearProjectorConfig(join_tokens=sizes["projector"]["join_tokens"]),
        language=LanguageConfig(pretrained=str(golden / "tiny_llama")),
        lora=LoraConfig(**sizes["lora"]),
        prompt=PromptConfig(
            template=sizes["prompt_template"],
            end_symbol=sizes["end_symbol"],
            pad_token=sizes["pad_token"],
            max_txt_len=sizes["max_txt_len"],
            max_context_len=sizes["max_context_len"],
        ),
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
def golden_pixels(golden_images, golden_vision) -> dict[str, torch.Tensor]:
    """The pre-processed images by name."""
    return {path.stem: pixels for path, pixels in zip(golden_images, golden_vision["pixels"], strict=True)}


def images_of_a_batch(texts: dict, known: list[str]) -> list[list[str]]:
    """Names of the images in each row; the batches that do not name theirs take them in order."""
    counts = [text.count("<ImageHere>") for text in texts.get("conv_q") or texts["instruction_input"]]
    if set(texts.get("image_id", [None])) <= set(known):
        return [[name] * count for name, count in zip(texts["image_id"], counts, strict=True)]
    order = re.sub(r"\(.*?\)", "", texts.get("image_order", ""))
    any_name = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    names = iter(re.findall(any_name, order) or known)
    return [[next(names) for _ in range(count)] for count in counts]


@pytest.fixture(scope="session")
def golden_batch(golden, golden_pixels, golden_vision, loaded_golden_model) -> Callable[[str], tuple[dict, dict]]:
    """A function: name of a batch -> (inputs of the model, the file's tensors)."""
    batches = json.loads((golden / "batches.json").read_text())

    def load(name: str) -> tuple[dict, dict]:
        tensors = load_file(golden / f"batch_{name}.safetensors")
        inputs = {key: tensors[key] for key in ("input_ids", "attention_mask", "labels")}
        names = images_of_a_batch(batches[name]["texts"], list(golden_pixels))
        if not any(names):
            return inputs, tensors
        pixels = torch.stack([golden_pixels[image] for row in names for image in row])
        places = (tensors["input_ids"] == -1).sum(dim=1).tolist()
        if sum(places) == len(pixels) * golden_vision["projected"].shape[1]:
            return inputs | {"pixel_values": pixels}, tensors
        # a limit has cut into the images of the prompts: the reference cuts their features too
        with torch.no_grad():
            features = loaded_golden_model.encode_images(pixels).split([len(row) for row in names])
        kept = [row.flatten(0, 1)[:count] for row, count in zip(features, places, strict=True)]
        return inputs | {"image_features": torch.cat(kept).unsqueeze(0)}, tensors

    return load
