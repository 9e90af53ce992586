"""The model that is measured when no recipe names another: small, with random weights, no file needed."""

from __future__ import annotations

from typing import Any

import torch

from skyeye.config.schema import LanguageConfig, LinearProjectorConfig, LoraConfig, ModelConfig, VisionConfig
from skyeye.models.build import build_model
from skyeye.models.modeling import SkyEyeForConditionalGeneration

#: Size of the vocabulary: LLaMA's. Texts are random ids below it, so no tokenizer is needed.
VOCABULARY = 32_000


def bench_config() -> ModelConfig:
    """LLaMA of hidden size 512 and 8 layers, 256 image tokens from 1,024 patches joined by 4, LoRA as in the reference.

    Encoding an image (about 21 G multiplications) costs what a training step makes of a row of 286 tokens (7 G forward,
    twice that backward).
    """
    language = {
        "model_type": "llama",
        "hidden_size": 512,
        "intermediate_size": 1376,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "max_position_embeddings": 4096,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return ModelConfig(
        vision=VisionConfig(image_size=448, patch_size=14, width=384, depth=8, heads=6, mlp_ratio=4.0),
        projector=LinearProjectorConfig(join_tokens=4),
        language=LanguageConfig(config=language),
        lora=LoraConfig(dropout=0.0),  # with dropout no two paths could be compared number by number
    )


def bench_model(
    device: str | torch.device = "cpu", config: ModelConfig | None = None, seed: int = 0
) -> tuple[SkyEyeForConditionalGeneration, int]:
    """A model with random weights, in evaluation mode, and the size of its vocabulary.

    Args:
        config: the parts; None: :func:`bench_config`. A pretrained language model keeps its weights and vocabulary.
        seed: of the weights. The global generator is left as it was.
    """
    config = config or bench_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(config, vocab_size=None if config.language.pretrained else VOCABULARY)
        with torch.no_grad():  # adapters start at zero effect, which would hide a path that leaves them out
            for name, parameter in model.named_parameters():
                if ".lora_B." in name:
                    parameter.normal_(std=0.02)
    return model.eval().to(device), model.config.text_config.vocab_size


def sizes(model: SkyEyeForConditionalGeneration) -> dict[str, Any]:
    """The sizes that a benchmark's result names."""
    text, named = model.config.text_config, ("image_size", "patch_size", "width", "depth", "heads")
    towers = [{key: vision[key] for key in named} for vision in model.config.towers]
    return {
        "language": {
            "hidden_size": text.hidden_size,
            "layers": text.num_hidden_layers,
            "heads": text.num_attention_heads,
            "intermediate_size": getattr(text, "intermediate_size", None),
            "vocabulary": text.vocab_size,
        },
        "vision": towers if len(towers) > 1 else towers[0],
        "tokens_per_image": model.tokens_per_image,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
