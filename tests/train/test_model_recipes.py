"""Each recipe of ``configs/models/`` at tiny size: one step of each of its stages, and one answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from skyeye.config.catalogue import MODELS, table
from skyeye.config.load import load_recipe
from skyeye.errors import SkyEyeError
from skyeye.models.build import check_model
from skyeye.run_log import read_log
from skyeye.serve.model import load
from skyeye.train.run import train

TWO_TOWERS = [name for name, model in MODELS.items() if model.two_towers]
NAMES = [name for name, model in MODELS.items() if model.recipe.startswith("models/") and not model.two_towers]
#: They differ from remoteclip in sizes and file, or in the layout of it (tests/models/two_towers/test_build.py).
SIZES_ALONE = ("remoteclip_l14", "remoteclip_rn50", "georsclip", "georsclip_h14", "skyclip", "graft")
VIT = "vit_tiny_patch16_224"
LLAMA = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
LLAMA |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048}


def tiny_vision(vision: dict | list) -> dict | list:
    """The same kind of tower at a few thousand weights: as many levels, by the same rule for its positions."""
    if isinstance(vision, list):  # a convolutional one, too, is a small transformer here, of another grid
        small = [tiny_vision({**one, "name": VIT, "arguments": {}}) for one in vision]
        return [{**one, "image_size": 32 * number} for number, one in enumerate(small, 1)]
    layers = vision["layers"] if len(vision["layers"] or "x") == 1 else [1, 2, 4]
    common = {**vision, "image_size": 28, "layers": layers, "weights": None}
    if vision["architecture"] == "timm":
        sizes = {"embed_dim": 16, "depth": 4, "num_heads": 2, "mlp_ratio": 2.0}
        return {**common, "arguments": {**vision["arguments"], **sizes}}
    return {**common, "patch_size": 14, "width": 16, "depth": 4, "heads": 2, "mlp_ratio": 2.0}


def tiny_projector(projector: dict, out: Path) -> dict:
    if projector["type"] == "qformer":
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz?", *(f"##{c}" for c in "aeiou")]
        (out / "vocab.txt").write_text("\n".join(vocabulary))
        sizes = {"queries": 4, "width": 16, "layers": 2, "heads": 2, "mlp_width": 24, "vocab_size": len(vocabulary)}
        return {**projector, **sizes, "vocabulary": str(out / "vocab.txt")}
    return {**projector, "queries": [3, 2, 1], "layers": 1, "heads": 2} if "queries" in projector else projector


def tiny(name: str, world: Path, out: Path) -> Path:
    """The recipe of that name with tiny parts and synthetic scenes in the place of its data."""
    path = MODELS[name].path
    recipe = load_recipe(path)
    content = yaml.safe_load(path.read_text())
    optimizer = {"warmup_steps": 0, "lr": 1e-3}
    stages = [
        {"name": stage.name, "steps": 1, "epochs": None, "images_per_step": 2, "optimizer": optimizer}
        for stage in recipe.stages
    ]
    settings = {
        "extends": str(path),
        "output_dir": str(out / "run"),
        "model": {
            "vision": tiny_vision(_plain(recipe.model.vision)),
            **({"retrieval": {"embedding": 8}} if recipe.model.retrieval else {}),
            "projector": tiny_projector(_plain(recipe.model.projector), out),
            "language": {"pretrained": None, "config": LLAMA},
            "tokenizer": {"train_vocab_size": 700},
            "checkpoint": None,
            "lora": {"r": min(recipe.model.lora.r, 2)},
        },
        "sources": {
            source: {"format": "synthetic", "path": str(world), "images": None, "options": {}}
            for source in recipe.sources
        },
        "stages": {stage["name"]: {key: stage[key] for key in stage if key != "name"} for stage in stages},
        "run": {"strategy": "single", "precision": "fp32", "frozen": "fp32", "workers": 0, "log_every": 1},
    }
    assert content["name"] == name
    (out / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return out / "tiny.yaml"


def _plain(section) -> dict | list:
    if isinstance(section, list):
        return [_plain(one) for one in section]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(section).items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_each_stage_and_an_answer(name, world, tmp_path):
    recipe = tiny(name, world, tmp_path)
    model = train(recipe)
    entries = [entry for entry in read_log(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    stages = load_recipe(recipe).stages
    assert [entry["stage"] for entry in entries] == [stage.name for stage in stages]
    assert all(0 < entry["loss"] < 20 and entry["gradient_norm"] > 0 for entry in entries)
    picture = next((world / "images").glob("test_*"))
    session = load(model).chat(picture)
    ways = [tower.resize for tower in load_recipe(MODELS[name].path).model.towers]
    assert session.model.processor.image_resize == (ways if len(ways) > 1 else ways[0])
    assert session.ask("how many planes are there ?", max_new_tokens=4).text is not None


@pytest.mark.parametrize("name", SIZES_ALONE)
def test_two_towers_can_be_built(name):
    check_model(load_recipe(MODELS[name].path).model)


@pytest.mark.parametrize("name", [name for name in TWO_TOWERS if name not in SIZES_ALONE])
def test_a_step_of_two_towers(name, world, tmp_path):
    recipe = load_recipe(MODELS[name].path)
    stage = {"steps": 2, "epochs": None, "images_per_step": 4, "sampling": "ratio", "optimizer": {"warmup_steps": 0}}
    source = next(iter(recipe.sources))
    settings = {
        "extends": str(MODELS[name].path),
        "output_dir": str(tmp_path / "run"),
        "model": {
            "vision": tiny_vision(_plain(recipe.model.vision)),
            "text": {"width": 24, "depth": 2, "heads": 2, "context": 20, "embedding": 8},
            "tokenizer": {"train_vocab_size": 700, "path": None},
            "checkpoint": None,
        },
        "sources": {
            key: {"format": "synthetic", "path": str(world), "images": None, "split": None} for key in recipe.sources
        },
        "stages": {"pairs": {**stage, "mixture": [{"source": source, "tasks": {"caption": 1}}]}},
        "run": {"strategy": "single", "precision": "fp32", "workers": 0, "log_every": 1},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    model = train(tmp_path / "tiny.yaml")
    entries = [entry for entry in read_log(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert len(entries) == 2 and all(0 < entry["loss"] < 5 and entry["gradient_norm"] > 0 for entry in entries)
    (state,) = (tmp_path / "run" / "states").iterdir()
    learnt = {parameter.split(".")[0] for parameter in load_file(state / "parameters.safetensors")}
    parts = {"vision_tower", "text_tower", "projector"}
    assert learnt == ({"adapter"} if recipe.model.text.adapter else parts)
    with pytest.raises(SkyEyeError, match="compare pictures with texts and answer nothing"):
        load(model)


@pytest.mark.parametrize(("name", "norms"), [("earthgpt", True), ("popeye", False)])
def test_norms_and_adapters_of_a_language_model(name, norms, world, tmp_path):
    """EarthGPT's stages: its norms learn beside the adapters, and are exported; nothing else of it does. Of Popeye the
    adapters alone."""
    model = train(tiny(name, world, tmp_path))
    states = sorted((tmp_path / "run" / "states").iterdir())
    learnt = [name for name in load_file(states[-1] / "parameters.safetensors") if name.startswith("language_model.")]
    assert any("layernorm" in name for name in learnt) == norms and any(".lora_A." in name for name in learnt)
    assert all("norm" in name or ".lora_" in name for name in learnt)
    assert any("input_layernorm" in name for name in load_file(model / "model.safetensors"))  # all: it has no base


def test_the_page_of_the_list_holds_the_table():
    page = Path(__file__).parents[2] / "docs" / "model_list.md"
    assert table() in page.read_text(encoding="utf-8"), "write the page again: python scripts/model_list.py"
