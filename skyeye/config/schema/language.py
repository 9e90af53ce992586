"""``model.language``, ``model.tokenizer`` and ``model.lora``: the model that reads and writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from skyeye.config.paths import PathText


@dataclass
class LanguageConfig:
    """Language model: a Hugging Face directory or hub name, or ``config`` to build one with fresh weights."""

    pretrained: PathText | None = None
    config: dict[str, Any] | None = None  # e.g. {model_type: llama, hidden_size: 192, ...}
    quantize: Literal["nf4"] | None = None  # QLoRA: the frozen base in 4 bits; needs CUDA and bitsandbytes


@dataclass
class TokenizerConfig:
    """A tokenizer file or directory; or, with ``train_vocab_size``, one learnt from the texts of the recipe's data."""

    path: PathText | None = None  # None: beside the pretrained language model
    train_vocab_size: int | None = None
    box_tokens: bool = False  # <0> .. <100> as single tokens; only for a tokenizer learnt here


@dataclass
class LoraConfig:
    """Low-rank adapters (PEFT) on the language model and, optionally, on the projector."""

    r: int = 64
    alpha: int = 16
    dropout: float = 0.05
    target_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    projector: bool = False
    variant: Literal["lora", "rslora", "dora"] = "lora"  # rslora: alpha / sqrt(r); dora: direction and length of rows
