"""A random model of a few thousand parameters that is asked, its processor, and a picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

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
from skyeye.serve.model import Model

WORDS = ["how many ships are there?", "two white ships", "where are they? {<10><20><40><70>}", "<p>a ship</p>"]


@pytest.fixture(scope="session")
def parts():
    """Model and processor; it reads 120 tokens."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(WORDS, 800)
    config = ModelConfig(
        vision=VisionConfig(image_size=28, patch_size=14, width=8, depth=1, heads=2, mlp_ratio=2.0),
        projector=LinearProjectorConfig(join_tokens=2),
        language=LanguageConfig(
            config={
                "model_type": "llama",
                "hidden_size": 8,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "max_position_embeddings": 120,
            }
        ),
        lora=LoraConfig(r=2),
        prompt=PromptConfig(),
    )
    model = build_model(config, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return model, SkyEyeProcessor.from_config(config, tokenizer)


@pytest.fixture
def model(parts):
    """To be asked."""
    return Model(*parts)


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))


@pytest.fixture
def says(model, monkeypatch):
    """A function: the model answers from a list, and what it was given is noted."""
    from skyeye.generation.engine import SharedAnswer

    def answers_from(texts):
        given, left = [], list(texts)
        encode = model.processor.tokenizer.encode

        def answer_groups(network, groups, *, rows, eos_token_id, **_):
            for number, group in enumerate(groups):
                for index in range(len(group.prompts)):
                    given.append((list(group.prompts[index]), group))
                    ids = [*encode(left.pop(0), add_special_tokens=False), eos_token_id[0]]
                    yield SharedAnswer(number, index, ids)

        monkeypatch.setattr("skyeye.serve.model.answer_groups", answer_groups)
        return given

    return answers_from
