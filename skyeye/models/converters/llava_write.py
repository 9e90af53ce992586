"""A model of ours as a folder in LLaVA's layout, which the originals' code loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from skyeye.errors import SkyEyeError
from skyeye.models.base import Base
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.converters.clip import hugging_face_tensors
from skyeye.models.converters.llava import PARTS, VARIANTS
from skyeye.models.converters.published import TOKENIZER_FILES
from skyeye.models.processing import SkyEyeProcessor

_TOWER = "vision_tower.backbone."
_PREPROCESSOR = {"image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": True}
_PREPROCESSOR |= {"do_normalize": True, "do_rescale": True, "do_convert_rgb": True, "resample": 3}


def write(
    target: Path,
    config: SkyEyeConfig,
    tensors: Mapping[str, torch.Tensor],
    base: Base,
    processor: SkyEyeProcessor,
) -> None:
    """Write what a checkpoint of ours holds: whole, or adapters and projector where the language model lies elsewhere.

    A tower that the checkpoint holds goes into ``vision_tower/``, as deep as its highest level.

    Args:
        tensors: by plain name.
        base: the parts that the checkpoint leaves out; they are named.

    Raises:
        SkyEyeError: the model is none that the layout can say.
    """
    _refuse_other_models(config, base)
    target.mkdir(parents=True)
    tower = {n.removeprefix(_TOWER): t for n, t in tensors.items() if n.startswith(_TOWER)}
    named = "vision_tower" if tower else base.vision[0].source if base.vision and base.vision[0] else "vision_tower"
    (target / "config.json").write_text(json.dumps(_settings(config, processor, named, base, bool(tower)), indent=2))
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(_TOWER)}
    if tower:
        _write_tower(target / "vision_tower", config, tower, processor)
    if base.language is not None:
        _write_adapters(target, config, rest, base.language.source)
    else:
        torch.save({_their_name(name): tensor.clone() for name, tensor in rest.items()}, target / "pytorch_model.bin")
    _write_tokenizer(target, processor, base)


def _their_name(name: str) -> str:
    opening, theirs = next(pair for pair in PARTS if name.startswith(pair[0]))
    return theirs + name.removeprefix(opening)


def _refuse_other_models(config: SkyEyeConfig, base: Base) -> None:
    odd = []
    if isinstance(config.vision, list) or config.towers[0]["architecture"] != "clip" or not config.towers[0]["layers"]:
        odd.append("model.vision is not one tower of architecture: clip with layers")
    if config.vision_norm:
        odd.append("model.vision_norm is true")
    if config.projector["type"] not in ("linear", "mlp") or config.projector["join_tokens"] != 1:
        odd.append("model.projector is neither linear nor mlp with join_tokens: 1")
    if config.text_config.model_type != "llama":
        odd.append(f"the language model is of type {config.text_config.model_type}")
    if config.lora is not None and (base.language is None or config.lora["projector"]):
        odd.append("its adapters lie beside a language model that it holds, or on its projector")
    if odd:
        remedy = "LLaVA's layout has no place for that; skyeye export --merged adds adapters to their weights"
        raise SkyEyeError("; ".join(odd), where="--layout llava", remedy=remedy)


def _settings(
    config: SkyEyeConfig, processor: SkyEyeProcessor, tower: str, base: Base, whole_tower: bool
) -> dict[str, Any]:
    """``config.json``. Of a tower that is written, which ends at its highest level, levels are counted from 0."""
    text = {name: value for name, value in config.text_config.to_dict().items() if not name.startswith("_attn")}
    rope = text.pop("rope_parameters", None) or {}
    for name in ("dtype", "architectures", "transformers_version"):
        text.pop(name, None)
    style, vision = processor.prompt["style"], config.towers[0]
    kinds = {variant.style: kind for kind, variant in VARIANTS.items()}
    layers = [layer % (vision["depth"] + 1) for layer in vision["layers"]] if whole_tower else vision["layers"]
    return text | {
        "rope_theta": rope.get("rope_theta", 10000.0),
        "rope_scaling": None,
        "model_type": {"rs_llava": "llava"}.get(kinds.get(style, "llava"), kinds.get(style, "llava")),
        "_name_or_path": None if base.language is None else base.language.source,
        "image_aspect_ratio": "pad" if processor.image_resize == "pad" else "square",
        "mm_hidden_size": vision["width"],
        "mm_projector_type": "mlp2x_gelu" if config.projector["type"] == "mlp" else "linear",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": layers[0] if len(layers) == 1 else layers,
        "mm_vision_tower": tower,
        "use_mm_proj": True,
    }


def _write_adapters(folder: Path, config: SkyEyeConfig, tensors: Mapping[str, torch.Tensor], base: str) -> None:
    lora = config.lora
    if lora is not None:
        found = {name: tensor for name, tensor in tensors.items() if ".lora_" in name}
        names = {name: f"base_model.model.{name.removeprefix('language_model.')}.weight" for name in found}
        torch.save({names[name]: tensor.clone() for name, tensor in found.items()}, folder / "adapter_model.bin")
        about = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "inference_mode": True}
        about |= {"base_model_name_or_path": base, "r": lora["r"], "lora_alpha": lora["alpha"]}
        about |= {"lora_dropout": lora["dropout"], "target_modules": lora["target_modules"], "modules_to_save": None}
        about |= {"use_rslora": True} if lora["variant"] == "rslora" else {}
        about |= {"use_dora": True} if lora["variant"] == "dora" else {}
        (folder / "adapter_config.json").write_text(json.dumps(about, indent=1))
    others = {_their_name(name): tensor.clone() for name, tensor in tensors.items() if ".lora_" not in name}
    if lora is None:
        torch.save(others, folder / "mm_projector.bin")
    else:
        others = {f"base_model.model.{name}": tensor for name, tensor in others.items()}
        torch.save(others, folder / "non_lora_trainables.bin")


def _write_tower(
    folder: Path, config: SkyEyeConfig, tower: dict[str, torch.Tensor], processor: SkyEyeProcessor
) -> None:
    folder.mkdir()
    vision = config.towers[0]
    width, depth = vision["width"], len({name.split(".")[1] for name in tower if name.startswith("blocks.")})
    tower = {
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
        **tower,
    }  # read by nothing, and expected
    torch.save(hugging_face_tensors(tower), folder / "pytorch_model.bin")
    about = {"model_type": "clip_vision_model", "hidden_size": width, "layer_norm_eps": 1e-5}
    about |= {"intermediate_size": int(width * vision["mlp_ratio"])}
    about |= {"num_hidden_layers": depth, "num_attention_heads": vision["heads"], "hidden_act": vision["activation"]}
    about |= {"image_size": vision["image_size"], "patch_size": vision["patch_size"], "layer_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps(about, indent=1))
    size = vision["image_size"]
    pixels = {"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}}
    pixels |= {"image_mean": list(processor.image_mean), "image_std": list(processor.image_std)}
    (folder / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSOR | pixels, indent=1))


def _write_tokenizer(folder: Path, processor: SkyEyeProcessor, base: Base) -> None:
    """The files of the base's tokenizer, of which the originals read ``tokenizer.model``; else ours."""
    source = None if base.language is None else Path(base.language.source)
    if source is None or not (source / "tokenizer.model").is_file():
        processor.tokenizer.save_pretrained(folder)
        return
    for name in (*TOKENIZER_FILES, "special_tokens_map.json", "added_tokens.json"):
        if (source / name).is_file():
            shutil.copy(source / name, folder)
