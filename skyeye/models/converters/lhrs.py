"""The layout of LHRS-Bot: ``FINAL.pt`` with tower and pooler, ``TextLoRA/`` beside it, the language model elsewhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from skyeye.config.schema import (
    LanguageConfig,
    LoraConfig,
    ModelConfig,
    NovaPoolerProjectorConfig,
    PoolerProjectorConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.errors import SkyEyeError
from skyeye.models.adapters import plain_name
from skyeye.models.base import Base, BasePart
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.converters.clip import hugging_face_tensors
from skyeye.models.converters.llava import KNOWN_TOWERS
from skyeye.models.converters.published import (
    Published,
    adapter_tensors,
    lora_section,
    part_beside,
    refuse_other_family,
    tell_other_base,
    tokenizer_of,
)
from skyeye.models.mapped import folder_weights, without_weights
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.vision.tower import VisionTower
from skyeye.models.vision.weights import fitted
from skyeye.models.weights import load_torch_file, read_json_object

logger = logging.getLogger(__name__)
FILE, ADAPTERS = "FINAL.pt", "TextLoRA"
_TOWER = "vision_tower.backbone."
#: google/siglip-so400m-patch14-384, whose last block Nova drops.
NOVA_TOWER = VisionConfig(
    architecture="timm",
    name="vit_so400m_patch14_siglip_384",
    image_size=384,
    arguments={"act_layer": "gelu_tanh"},
    layers=[9, 18, 26],
    resize="crop",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def knows(path: Path) -> bool:
    """Whether a folder is in LHRS-Bot's layout."""
    return (path / FILE).is_file()


def read(folder: Path, base: Path | ModelConfig | None = None, family: str | None = None) -> Published:
    """A folder in LHRS-Bot's layout, in our words.

    Args:
        base: folder of the language model; or the model section of a recipe, for models of other sizes than the
            published one: neither the tower's heads nor the division of the queries stand in the files.
        family: this one, or None.

    Raises:
        SkyEyeError: a part is not there, or the file is none of LHRS-Bot's.
    """
    refuse_other_family(family, "lhrs", folder)
    parts = _parts(folder)
    lora = folder / ADAPTERS
    recipe = base if isinstance(base, ModelConfig) else None
    under = _language(folder, recipe.language.pretrained if recipe is not None else base)
    if recipe is None:
        model = _published_model(under, parts["rgb_pooler"])
    else:
        model = ModelConfig(recipe.towers[0], False, recipe.projector, recipe.language, prompt=recipe.prompt)
        model.tokenizer.path = recipe.tokenizer.path
    model.language = LanguageConfig(pretrained=str(under))
    model.tokenizer.path = model.tokenizer.path or tokenizer_of(under)
    model.lora = lora_section(lora) if lora.is_dir() else LoraConfig(r=0)
    tensors = {plain_name(n): tensor for n, tensor in adapter_tensors(lora).items()} if lora.is_dir() else {}
    tensors |= {f"projector.{name}": tensor for name, tensor in parts["rgb_pooler"].items()}
    with without_weights():
        tower = VisionTower(asdict(model.towers[0]))
    tensors |= {_TOWER + name: tensor for name, tensor in fitted(tower, parts["rgb_ckpt"], folder).items()}
    remedy = "give the recipe of its model: --base RECIPE, with model.vision and model.projector"
    return Published(model, tensors, Base((), BasePart.of(str(under))), remedy)


def write(
    target: Path,
    config: SkyEyeConfig,
    tensors: Mapping[str, torch.Tensor],
    base: Base,
    processor: SkyEyeProcessor,
) -> None:
    """Write what a checkpoint of ours holds: ``FINAL.pt``, and its adapters in ``TextLoRA/``.

    A tower that the checkpoint names and does not hold is taken from there, whole.

    Raises:
        SkyEyeError: the model is none of LHRS-Bot's kind.
    """
    if not config.projector["type"].endswith("pooler") or base.language is None:
        what = "the projector is no pooler, or the language model is held"
        remedy = "LHRS-Bot's layout has adapters beside a language model, and a pooler"
        raise SkyEyeError(what, where="--layout lhrs", remedy=remedy)
    target.mkdir(parents=True)
    tower = {name.removeprefix(_TOWER): t for name, t in tensors.items() if name.startswith(_TOWER)}
    published = hugging_face_tensors(tower) if tower else folder_weights(Path(base.vision[0].source))
    pooler = {n.removeprefix("projector."): t.clone() for n, t in tensors.items() if n.startswith("projector.")}
    rgb = {f"encoder.{n}": t.clone() for n, t in published.items() if n.startswith("vision_model.")}
    other = {"rgb_pooler": pooler, "text_proj": {}, "embed_tokens": {}, "lm_head": {}}
    torch.save({"model": {"rgb_ckpt": rgb, "other_ckpt": other}}, target / FILE)
    if config.lora is not None:
        _write_adapters(target / ADAPTERS, config.lora, tensors, base.language.source)


def _write_adapters(folder: Path, lora: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], base: str) -> None:
    folder.mkdir()
    found = {name.removeprefix("language_model."): t for name, t in tensors.items() if ".lora_" in name}
    layers = sorted({name.rpartition(".lora_")[0] for name in found})
    named = {f"base_model.model.{name}.weight": tensor.contiguous() for name, tensor in found.items()}
    save_file(named, folder / "adapter_model.safetensors", {"format": "pt"})
    about = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "inference_mode": True}
    about |= {"base_model_name_or_path": base, "r": lora["r"], "lora_alpha": lora["alpha"]}
    about |= {"lora_dropout": lora["dropout"], "target_modules": layers}
    (folder / "adapter_config.json").write_text(json.dumps(about, indent=1))


def _parts(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """``rgb_ckpt`` and ``rgb_pooler`` of the file; some are written without the outer ``model``."""
    content = load_torch_file(folder / FILE)
    content = content.get("model", content)
    other = content.get("other_ckpt")
    found = {
        "rgb_ckpt": content.get("rgb_ckpt"),
        "rgb_pooler": other.get("rgb_pooler") if isinstance(other, dict) else 0,
    }
    if not all(isinstance(part, dict) and part for part in found.values()):
        raise SkyEyeError("holds no rgb_ckpt and rgb_pooler", where=str(folder / FILE), remedy="download it again")
    if other.get("embed_tokens"):
        logger.info("%s: not used, as by the original: embed_tokens", folder / FILE)
    return found


def _language(folder: Path, given: str | Path | None) -> Path:
    file = folder / ADAPTERS / "adapter_config.json"
    stated = read_json_object(file).get("base_model_name_or_path") if file.is_file() else None
    if given is not None and Path(given).is_dir():
        tell_other_base(stated, Path(given), folder)
        return Path(given)
    named = str(given) if given is not None else stated
    return part_beside(named, folder, "language model", f"name the folder of {named}: --base FOLDER")


def _published_model(language: Path, pooler: Mapping[str, torch.Tensor]) -> ModelConfig:
    """LHRS-Bot as it was published, or Nova, whose pooler has a norm at its end."""
    if "layernorm_post.weight" in pooler:
        experts = sum("layers.0." in name and ".experts.weight_up." in name for name in pooler)
        projector = NovaPoolerProjectorConfig(experts=experts)
        prompt = PromptConfig(style="lhrs_nova", pad_token=None)
        return ModelConfig(NOVA_TOWER, False, projector, LanguageConfig(pretrained=str(language)), prompt=prompt)
    depth = KNOWN_TOWERS["clip-vit-large-patch14"]["depth"]
    layers = [depth // 3 - 1, 2 * (depth // 3) - 1, depth - 2]
    vision = VisionConfig(**KNOWN_TOWERS["clip-vit-large-patch14"], layers=layers, resize="crop")
    prompt = PromptConfig(style="lhrs", pad_token=None)
    return ModelConfig(vision, False, PoolerProjectorConfig(), LanguageConfig(pretrained=str(language)), prompt=prompt)
