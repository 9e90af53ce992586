"""Files of the published layouts with random weights: the LLaMA-2 folder, ``eva_vit_g.pth``, ``SkyEyeGPT.pth``.

Names, shapes and types are those of the published files; a model of fewer or narrower layers has fewer or smaller ones.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from skyeye.bench.full_size.noise import Noise
from skyeye.bench.full_size.tokenizer import PIECES, tokenizer_model
from skyeye.config.schema import LanguageConfig, LoraConfig, ModelConfig, VisionConfig
from skyeye.data.files import whole_file, write_json
from skyeye.models.build import build_model
from skyeye.models.converters.minigpt_v2 import is_trained, reference_name
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.vision import build_tower
from skyeye.models.weights import shapes

#: Layers of a shard. The published folder has two shards; with more of them a folder of fewer layers needs no copy.
SHARD = 4
INDEX = "model.safetensors.index.json"


def language_settings(layers: int, width: int) -> dict[str, Any]:
    """The configuration of LLaMA-2-7B, or of one of fewer and narrower layers."""
    return {
        "model_type": "llama",
        "vocab_size": PIECES,
        "hidden_size": width,
        "intermediate_size": width * 11008 // 4096,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 128),
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def write_language(folder: Path, layers: int, width: int) -> None:
    """The folder of a LLaMA-2 model: ``config.json``, shards in fp16 with their index, ``tokenizer.model``."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, noise = language_settings(layers, width), Noise()
    wanted = shapes(empty_model(settings, lora=0).language_model.state_dict())
    shards = -(-layers // SHARD) + 1
    of_layers: list[dict[str, torch.Size]] = [{} for _ in range(shards)]
    for name, shape in wanted.items():
        place = int(name.split(".")[2]) // SHARD if name.startswith("model.layers.") else shards - 1
        of_layers[place][name] = shape
    index: dict[str, str] = {}
    for number, tensors in enumerate(of_layers, start=1):
        file = f"model-{number:05d}-of-{shards:05d}.safetensors"
        noise.write(folder / file, tensors)
        index |= dict.fromkeys(tensors, file)
    _write_index(folder, settings, index)
    (folder / "tokenizer.model").write_bytes(tokenizer_model())


def link_language(folder: Path, target: Path, layers: int) -> None:
    """A folder of the first ``layers`` layers of another: links to its shards.

    Args:
        layers: a multiple of :data:`SHARD`.
    """
    target.mkdir(parents=True, exist_ok=True)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
    index = {n: f for n, f in index.items() if not n.startswith("model.layers.") or int(n.split(".")[2]) < layers}
    for file in {*index.values(), "tokenizer.model"}:
        (target / file).unlink(missing_ok=True)
        os.symlink((folder / file).resolve(), target / file)
    _write_index(target, {**settings, "num_hidden_layers": layers}, index)


def _write_index(folder: Path, settings: dict[str, Any], index: dict[str, str]) -> None:
    about = {"architectures": ["LlamaForCausalLM"], "torch_dtype": "float16"}
    write_json(folder / "config.json", {**settings, **about}, indent=1)
    size = sum((folder / file).stat().st_size for file in set(index.values()))
    write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": index}, indent=1)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})


def write_tower(path: Path, vision: VisionConfig) -> None:
    """An EVA-CLIP file in fp16: positions of half the resolution, a block more than is used, final norm and head."""
    published = replace(vision, image_size=vision.image_size // 2, depth=vision.depth + 1)
    with torch.device("meta"):
        wanted = shapes(build_tower(asdict(published)).backbone.state_dict())
    for name, size in (("norm", (vision.width,)), ("head", (1000, vision.width))):
        wanted |= {f"{name}.weight": torch.Size(size), f"{name}.bias": torch.Size(size[:1])}
    noise = Noise(1)
    with whole_file(path) as file:
        torch.save({name: noise.tensor(name, shape) for name, shape in wanted.items()}, file)


def write_released(path: Path, settings: dict[str, Any], vision: VisionConfig) -> None:
    """A file of the reference's runner: adapters and projection in float32, AdamW's moments, rotary frequencies.

    Args:
        settings: of the language model (:func:`language_settings`).
    """
    built = empty_model(settings, vision)
    trained = {reference_name(name): tensor.shape for name, tensor in built.named_parameters()}
    trained = {name: shape for name, shape in trained.items() if is_trained(name)}
    noise = Noise(2)
    tensors = {name: noise.tensor(name, shape, torch.float32) for name, shape in trained.items()}
    for layer in range(settings["num_hidden_layers"]):
        name = f"llama_model.base_model.model.model.layers.{layer}.self_attn.rotary_emb.inv_freq"
        tensors[name] = torch.zeros(settings["hidden_size"] // settings["num_attention_heads"] // 2)
    moments = {
        number: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(shape), "exp_avg_sq": torch.zeros(shape)}
        for number, shape in enumerate(trained.values())
    }
    group = {"lr": 1e-5, "weight_decay": 0.05, "params": list(moments)}
    content = {
        "model": tensors,
        "optimizer": {"state": moments, "param_groups": [group]},
        "config": {"model": {"arch": "minigpt_v2", "lora_r": 64, "lora_alpha": 16}, "run": {"amp": True}},
        "scaler": None,
        "epoch": 0,
    }
    with whole_file(path) as file:
        torch.save(content, file)


def empty_model(
    settings: dict[str, Any], vision: VisionConfig | None = None, lora: int = 64
) -> SkyEyeForConditionalGeneration:
    """The model without memory."""
    language, tower = LanguageConfig(config=settings), vision or VisionConfig(depth=1)
    with torch.device("meta"):
        return build_model(ModelConfig(vision=tower, language=language, lora=LoraConfig(r=lora)))
