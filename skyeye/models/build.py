"""From the model section of a recipe to a model: fresh or pretrained parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase

from skyeye.config.hints import meant, nearest
from skyeye.config.schema import LanguageConfig, ModelConfig
from skyeye.data.hub import hub_is_reachable, local_path
from skyeye.errors import SkyEyeError
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.known_sizes import KNOWN
from skyeye.models.language import pretrained_language_model
from skyeye.models.mapped import without_weights
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.precision import Part, dtype_of
from skyeye.models.two_towers.build import build_two_towers
from skyeye.models.vision import build_tower, load_vision_weights

_MISSPELT = 0.7  # likeness of a key to a known one from which on it is taken for that one, misspelt


def build_model(
    model: ModelConfig,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    vocab_size: int | None = None,
    precision: torch.dtype | Mapping[Part, torch.dtype] = torch.float32,
    device: torch.device | str = "cpu",
) -> SkyEyeForConditionalGeneration:
    """Build the model of a recipe.

    Pretrained weights are loaded where the recipe names them; every other part starts fresh. Under
    ``torch.device("meta")`` nothing is loaded and nothing is allocated: that is for planning.

    Args:
        model: the recipe's model section. Its ``checkpoint`` is not read here, see :mod:`skyeye.models.checkpoint`.
        tokenizer: gives a fresh language model its vocabulary size and special tokens.
        vocab_size: instead of a tokenizer, for planning.
        precision: of the weights of pretrained parts, see :func:`~skyeye.models.precision.dtype_of`. What starts fresh
            is float32.
        device: that pretrained weights go to, straight from their files. What starts fresh is left where it is made.

    Raises:
        SkyEyeError: weights do not fit, the language model is unknown, the tokenizer has more tokens than the model, or
            adapters are asked for layers that are not there.
    """
    planning = torch.empty(0).device.type == "meta"
    config = model_config(model, tokenizer, vocab_size)
    language_model = vision_tower = None
    if model.language.pretrained and not planning:
        dtype = dtype_of("language_model.", precision)
        language_model = pretrained_language_model(model.language.pretrained, dtype, model.language.quantize, device)
    if all(section.weights for section in model.towers) and not planning:
        with without_weights():  # no number is drawn that is about to be overwritten
            vision_tower = build_tower(config.vision)
    built = SkyEyeForConditionalGeneration(config, language_model, vision_tower)
    if model.lora.r > 0:
        _all_targets_are_there(built, model.lora.target_modules)
    for tower, section in zip(built.vision_tower.towers, model.towers, strict=True):
        if section.weights and not planning:
            load_vision_weights(tower, section.weights, dtype_of("vision_tower.", precision), device)
    return built


def check_model(model: ModelConfig) -> None:
    """Build the model of a recipe without any weight: what does not go together is known before data are read.

    Raises:
        SkyEyeError: as :func:`build_model`, but for weights that do not fit.
    """
    with torch.device("meta"):
        if model.text is not None:
            build_two_towers(model)
            return
        build_model(model, vocab_size=model.tokenizer.train_vocab_size)


def _all_targets_are_there(model: SkyEyeForConditionalGeneration, targets: Sequence[str]) -> None:
    """PEFT adapts the layers that it finds and says nothing of the others, as long as it finds one."""
    adapted = [name for name, part in model.language_model.named_modules() if isinstance(part, LoraLayer)]
    missing = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in adapted)]
    if missing:
        linear = (name for name, part in model.language_model.named_modules() if isinstance(part, nn.Linear))
        known = sorted({name.removesuffix(".base_layer").split(".")[-1] for name in linear if ".lora_" not in name})
        raise SkyEyeError(
            f"no layer is called {' or '.join(missing)}",
            where="model.lora.target_modules",
            remedy=f"this language model's linear layers are {', '.join(known)}",
        )


def model_config(
    model: ModelConfig, tokenizer: PreTrainedTokenizerBase | None = None, vocab_size: int | None = None
) -> SkyEyeConfig:
    """The configuration of a recipe's model.

    Raises:
        SkyEyeError: the language model is unknown, or the tokenizer has more tokens than it.
    """
    size = len(tokenizer) if tokenizer is not None else vocab_size
    return SkyEyeConfig.of(
        model,
        text_config=_text_config(model.language, tokenizer, size),
        lora=asdict(model.lora) if model.lora.r > 0 else None,
    )


def _text_config(language: LanguageConfig, tokenizer: PreTrainedTokenizerBase | None, size: int | None):
    if language.pretrained:
        config = _published_config(language.pretrained)
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
    _refuse_misspelt(model_type, settings)
    try:
        return AutoConfig.for_model(model_type, **settings)
    except (ValueError, TypeError, ArithmeticError, StrictDataclassError) as error:
        reason = str(error).strip().splitlines()[-1].strip()[:200]  # its first line may name no setting
        raise SkyEyeError(reason, where="model.language.config") from error


def _published_config(name: str) -> PreTrainedConfig:
    """The configuration of a folder, or of a name on the hub; in planning, which loads nothing, also of a name whose
    sizes are known.

    Raises:
        SkyEyeError: it is nowhere, or no configuration.
    """
    planning = torch.empty(0).device.type == "meta"
    if local_path(name) is None and not hub_is_reachable():
        if planning and name in KNOWN:
            return AutoConfig.for_model(**KNOWN[name])
        what = f"{name} is not on this machine, and the hub cannot be reached"
        remedy = f"hf download {name} where there is a network, or give a folder that holds it"
        raise SkyEyeError(what, where="model.language.pretrained", remedy=remedy)
    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise SkyEyeError(
            f"no language model configuration in {name!r}: {str(error).strip().splitlines()[0]}",
            where="model.language.pretrained",
            remedy="give a directory with config.json, or a hub name this machine can reach",
        ) from error


def _refuse_misspelt(model_type: str, settings: Mapping[str, Any]) -> None:
    """transformers keeps a key that it does not know, and takes the default of the one that was meant."""
    if model_type not in CONFIG_MAPPING:
        return
    default = CONFIG_MAPPING[model_type]()
    known = [*default.to_dict(), *default.attribute_map]
    for key in settings:
        # keys of other models, such as max_position_embeddings of one that needs none, look like none of this one's
        if key not in known and not key.startswith("rope_") and (close := nearest(key, known, _MISSPELT)):
            raise SkyEyeError(f"{model_type} has no setting {key}{meant(close)}", where=f"model.language.config.{key}")
