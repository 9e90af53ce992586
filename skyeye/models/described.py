"""What a checkpoint says of itself, beside the model it is loaded onto.

Names and shapes of weights do not tell an adapter's scale, a tower's heads or a token's number: a model can take every
weight of another one and compute something else. What changes the computation is refused; what a person may mean, such
as other words around a question, is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from skyeye.errors import SkyEyeError
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import load_tokenizer
from skyeye.models.weights import load_torch_file, read_json_object

#: What a tower of each kind reads of its section; the pixels' mean and deviation belong to the processor.
_TOWER = ("image_size", "layers", "level_norm")
_SIZES = ("patch_size", "width", "depth", "heads", "mlp_ratio")
_TOWERS = {"eva": _SIZES, "clip": (*_SIZES, "activation"), "timm": ("name", "stem", "arguments")}
#: Settings of a language model that change no logits of a sequence that fits.
_NOT_COMPUTED = frozenset(
    "_name_or_path architectures auto_map bos_token_id chunk_size_feed_forward dtype eos_token_id id2label"
    " initializer_range is_decoder label2id max_position_embeddings output_attentions output_hidden_states pad_token_id"
    " pretraining_tp problem_type quantization_config return_dict task_specific_params tie_word_embeddings torch_dtype"
    " transformers_version use_cache vocab_size".split()
)


def own_words(path: Path) -> dict[str, Any]:
    """The configuration that a checkpoint carries: of a directory ``config.json``, of a ``.pth`` file what
    ``skyeye checkpoint convert`` or the reference's runner put into it. Empty where it says nothing."""
    if path.is_dir():
        return read_json_object(path / "config.json")
    content = {} if path.suffix == ".safetensors" else load_torch_file(path).get("config")
    if not isinstance(content, Mapping):
        return {}
    if isinstance(content.get("skyeye"), Mapping):
        return dict(content["skyeye"])
    model = content.get("model")
    if not isinstance(model, Mapping) or not isinstance(model.get("lora_alpha"), int):
        return {}
    return {"lora": {"alpha": model["lora_alpha"]}}  # the reference writes its recipe; the rest shows in the shapes


def refuse_other_config(config: object, where: Path) -> dict[str, Any]:
    """The settings of ``config.json``, if they are of a model of ours and name every part.

    What is missing would be filled in: ``{}`` would be a model of seven billion parameters.

    Raises:
        SkyEyeError: it is of another model, or does not name every part.
    """
    remedy = "its files are damaged or of another model: copy or export it again"
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(config, dict) or kind != SkyEyeConfig.model_type:
        what = "says no model_type" if kind is None else f"describes a model of type {str(kind)[:40]!r}"
        raise SkyEyeError(f"{what}; a checkpoint of skyeye is expected", where=str(where), remedy=remedy)
    parts = ("vision", "projector", "text_config")
    missing = [part for part in parts if not (config.get(part) and isinstance(config[part], (dict, list)))]
    if missing:
        raise SkyEyeError(f"describes no {', no '.join(missing)}", where=str(where), remedy=remedy)
    return config


def refuse_other_computation(
    config: SkyEyeConfig, found: Mapping[str, torch.Tensor], theirs: Mapping[str, Any], path: Path
) -> None:
    """Refuse weights that fit a model and were trained as part of another one.

    Args:
        config: of the model that they are to be loaded onto.
        found: the tensors of the checkpoint, whose names and shapes fit.
        theirs: the configuration that it carries (:func:`own_words`).

    Raises:
        SkyEyeError: every value that differs is named, with the setting that it belongs to.
    """
    differing = list(_projector_and_tower(config, theirs))
    if isinstance(theirs.get("text_config"), Mapping):
        differing += _language(config.text_config, theirs["text_config"])
    if any(".lora_B" in name and bool(tensor.any()) for name, tensor in found.items()):  # zero ones mean the same
        alphas = [(part or {}).get("alpha") for part in (theirs.get("lora"), config.lora)]
        if None not in alphas and alphas[0] != alphas[1]:
            differing.append(("model.lora.alpha", *alphas))
    if differing:
        raise SkyEyeError(
            "its weights fit, but were trained in another model: "
            + "; ".join(f"{setting} is {before} there and {now} here" for setting, before, now in differing),
            where=str(path),
            remedy="set " + ", ".join(f"{setting}: {json.dumps(before)}" for setting, before, _ in differing),
        )


def check_processing(processor: SkyEyeProcessor, path: Path) -> list[str]:
    """Compare a processor with the one that lies in a checkpoint's directory.

    Returns:
        A line for each setting that differs and that a person may mean: mean and deviation of pixels, the prompt.

    Raises:
        SkyEyeError: the tokenizer gives other ids, so that the model would read other words.
    """
    if not (path / "processor_config.json").is_file():
        return []
    _refuse_other_tokens(processor, path)
    theirs = read_json_object(path / "processor_config.json")
    names = {"image_mean": "model.vision.mean", "image_std": "model.vision.std", "image_resize": "model.vision.resize"}
    ours = {**{name: getattr(processor, name) for name in names}, **processor.prompt}
    before = {**{name: theirs.get(name) for name in names}, **(theirs.get("prompt") or {})}
    return [
        f"{names.get(name, f'model.prompt.{name}')} is {_plain(ours[name])}; {path} was trained with {before[name]}"
        for name in ours
        if before.get(name) is not None and _plain(ours[name]) != before[name]
    ]


def _projector_and_tower(config: SkyEyeConfig, theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    projector = theirs.get("projector") or {}
    for name in projector.keys() & (config.projector or {}).keys():
        if _plain(projector[name]) != _plain(config.projector[name]):
            yield f"model.projector.{name}", projector[name], config.projector[name]
    if "vision_norm" in theirs and theirs["vision_norm"] != config.vision_norm:
        yield "model.vision_norm", theirs["vision_norm"], config.vision_norm
    vision = theirs.get("vision") or []
    towers = vision if isinstance(vision, list) else [vision]
    several = isinstance(config.vision, list)
    for i, (before, now) in enumerate(zip(towers, config.towers, strict=False)):
        place = f"model.vision[{i}]" if several else "model.vision"
        for name in ("architecture", *_TOWER, *_TOWERS[now["architecture"]]):
            values = [_without_weights(tower.get(name)) for tower in (before, now)]
            if name in before and values[0] != values[1]:
                yield f"{place}.{name}", *values


def _language(config: PreTrainedConfig, theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    ours = config.to_dict()
    for name in sorted(ours.keys() & theirs.keys() - _NOT_COMPUTED):
        if "dropout" not in name and _plain(ours[name]) != _plain(theirs[name]):
            yield f"model.language.config.{name}", theirs[name], ours[name]


def _refuse_other_tokens(processor: SkyEyeProcessor, path: Path) -> None:
    ours, theirs = processor.tokenizer.get_vocab(), load_tokenizer(path).get_vocab()
    odd = sorted((token for token, number in theirs.items() if ours.get(token) != number), key=theirs.__getitem__)
    if odd:
        raise SkyEyeError(
            f"the model was trained with another tokenizer: {len(odd)} of its {len(theirs)} tokens have another number"
            f" or none here, e.g. {odd[0]!r} is {theirs[odd[0]]} there and {ours.get(odd[0])} here",
            where="model.tokenizer",
            remedy=f"set model.tokenizer: {{path: {path}, train_vocab_size: null, box_tokens: false}}",
        )


def _without_weights(value: Any) -> Any:
    """Arguments of timm that say where weights come from are none of the model's."""
    value = _plain(value)
    return {k: v for k, v in value.items() if k != "pretrained"} if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    """As JSON has it: tuples are lists."""
    return json.loads(json.dumps(value, default=str))
