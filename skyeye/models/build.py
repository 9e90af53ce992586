"""From the model section of a recipe to a model: fresh or pretrained parts."""

from __future__ import annotations

from dataclasses import asdict

import torch
from transformers import AutoConfig, PreTrainedTokenizerBase

from skyeye.config.schema import LanguageConfig, ModelConfig
from skyeye.errors import SkyEyeError
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.language import pretrained_language_model
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.vision import load_vision_weights


def build_model(
    model: ModelConfig,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    vocab_size: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> SkyEyeForConditionalGeneration:
    """Build the model of a recipe.

    Pretrained weights are loaded where the recipe names them; every other part starts fresh. Under
    ``torch.device("meta")`` nothing is loaded and nothing is allocated: that is for planning.

    Args:
        model: the recipe's model section. Its ``checkpoint`` is not read here, see :mod:`skyeye.models.checkpoint`.
        tokenizer: gives a fresh language model its vocabulary size and special tokens.
        vocab_size: instead of a tokenizer, for planning.
        dtype: precision of a pretrained language model. Everything else is float32.

    Raises:
        SkyEyeError: weights do not fit, the language model is unknown, or the tokenizer has more tokens than the model.
    """
    planning = torch.empty(0).device.type == "meta"
    config = _config(model, tokenizer, vocab_size)
    language_model = None
    if model.language.pretrained and not planning:
        language_model = pretrained_language_model(model.language.pretrained, dtype, model.language.quantize)
    built = SkyEyeForConditionalGeneration(config, language_model)
    for tower, section in zip(built.vision_tower.towers, model.towers, strict=True):
        if section.weights and not planning:
            load_vision_weights(tower, section.weights)
    return built


def _config(model: ModelConfig, tokenizer: PreTrainedTokenizerBase | None, vocab_size: int | None) -> SkyEyeConfig:
    size = len(tokenizer) if tokenizer is not None else vocab_size
    return SkyEyeConfig.of(
        model,
        text_config=_text_config(model.language, tokenizer, size),
        lora=asdict(model.lora) if model.lora.r > 0 else None,
    )


def _text_config(language: LanguageConfig, tokenizer: PreTrainedTokenizerBase | None, size: int | None):
    if language.pretrained:
        try:
            config = AutoConfig.from_pretrained(language.pretrained)
        except (OSError, ValueError) as error:
            raise SkyEyeError(
                f"no language model configuration in {language.pretrained!r}: {str(error).strip().splitlines()[0]}",
                where="model.language.pretrained",
                remedy="give a directory with config.json, or a hub name this machine can reach",
            ) from error
        if size is not None and size > config.vocab_size:
            raise SkyEyeError(
                f"the tokenizer has {size} tokens, the language model {config.vocab_size}",
                where="model.tokenizer",
                remedy="use the tokenizer that belongs to the language model",
            )
        return config
    settings = dict(language.config or {})
    model_type = settings.pop("model_type", "llama")
    if size is not None:
        settings["vocab_size"] = size
    if tokenizer is not None:
        settings |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    try:
        return AutoConfig.for_model(model_type, **settings)
    except ValueError as error:
        raise SkyEyeError(str(error).strip().splitlines()[0][:200], where="model.language.config") from error
