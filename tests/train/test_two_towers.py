"""Contrastive stages: one step of the recipes' kind, equal losses with two processes, exports that open again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from skyeye.config.catalogue import MODELS
from skyeye.config.load import load_recipe
from skyeye.config.schema import EvalConfig
from skyeye.eval.evaluate import evaluate
from skyeye.eval.in_training import InTrainingEval
from skyeye.eval.settings import EvalSettings
from skyeye.generation.opening import Opening, kinds_given
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.retrieval import RET_ID
from skyeye.models.two_towers.build import open_two_towers
from skyeye.run_log import read_log
from skyeye.train.run import train

CONFIG = Path(__file__).parents[2] / "configs" / "two_towers_tiny.yaml"


def tiny(world: Path, out: Path, **stage) -> Path:
    """Two towers of a few thousand weights on the captions of synthetic scenes."""
    text = {"width": 16, "depth": 1, "heads": 2, "context": 24, "activation": "gelu", "embedding": 8}
    settings = {
        "extends": str(CONFIG),
        "output_dir": str(out / "run"),
        "model": {
            "vision": {"image_size": 32, "stem": "patch", "arguments": {"embed_dim": 16, "depth": 1, "num_heads": 2}},
            "text": text | stage.pop("of_text", {}),
            "tokenizer": {"train_vocab_size": 700},
        },
        "sources": {"rsicd": {"format": "synthetic", "path": str(world), "images": None, "split": None}},
        "stages": {
            "pairs": {
                "steps": 3,
                "images_per_step": 6,
                "mixture": [{"source": "rsicd", "tasks": {"caption": 1}}],
                "optimizer": {"warmup_steps": 0},
                **stage,
            }
        },
        "run": {"precision": "fp32", "workers": 0, "log_every": 1},
    }
    (out / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return out / "tiny.yaml"


@pytest.fixture(scope="module")
def data(world, tmp_path_factory) -> Path:
    """Four pictures with a caption each, in the layout of RSICD."""
    root = tmp_path_factory.mktemp("data")
    (root / "images").symlink_to(world / "images")
    names = sorted(path.name for path in (world / "images").iterdir())[:4]
    entries = [
        {"filename": name, "split": "test", "sentences": [{"raw": f"{number} planes near a road", "tokens": []}]}
        for number, name in enumerate(names)
    ]
    (root / "dataset_rsicd.json").write_text(json.dumps({"images": entries}))
    return root


def test_a_stage_trains_and_its_export_opens(world, data, tmp_path):
    model = train(tiny(world, tmp_path))
    losses = [entry["loss"] for entry in read_log(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert len(losses) == 3 and all(0 < loss < 5 for loss in losses)
    opened, processor = open_two_towers(model)
    ids = processor.caption_ids(["a white plane", "two ships"])
    with torch.no_grad():
        texts = opened.embed_texts(ids)
    assert ids.shape == (2, 24) and texts.norm(dim=1).tolist() == pytest.approx([1, 1])
    config = EvalConfig(["rsicd.retrieval"], str(data), every=1, choose="rsicd.retrieval/mean_recall")
    scores = InTrainingEval(config, 1.0)(opened, processor, tmp_path / "eval", {"stage": "pairs", "step": 3})
    assert scores["rsicd.retrieval/image_to_text R@5"] == 100


@pytest.fixture(scope="module")
def capret(world, tmp_path_factory) -> Path:
    """RS-CapRet at tiny size, trained for two steps on the captions of synthetic scenes."""
    out = tmp_path_factory.mktemp("capret")
    tower = {"image_size": 28, "patch_size": 14, "width": 16, "depth": 1, "heads": 2, "weights": None}
    llama = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    llama |= {"num_attention_heads": 2, "max_position_embeddings": 256}
    recipe = load_recipe(MODELS["rs_capret"].path)
    optimizer = {"warmup_steps": 0, "lr": 1e-3}
    stage = {"steps": 2, "epochs": None, "images_per_step": 4, "sampling": "ratio", "optimizer": optimizer}
    settings = {
        "extends": str(MODELS["rs_capret"].path),
        "output_dir": str(out / "run"),
        "model": {
            "vision": tower,
            "language": {"pretrained": None, "config": llama},
            "tokenizer": {"train_vocab_size": 700},
            "retrieval": {"embedding": 8},
        },
        "sources": {
            name: {"format": "synthetic", "path": str(world), "images": None, "split": None} for name in recipe.sources
        },
        "stages": {"captions_and_retrieval": {**stage, "mixture": [{"source": "rsicd", "tasks": {"caption": 1}}]}},
        "run": {"strategy": "single", "precision": "fp32", "frozen": "fp32", "workers": 0, "log_every": 1}
        | {"gradient_checkpointing": False},
        "eval": {"benchmarks": []},
    }
    (out / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return train(out / "tiny.yaml")


def test_the_maps_and_the_token_learn_and_nothing_else(capret):
    model, processor = open_checkpoint(capret)
    run = capret.parents[1]
    (state,) = sorted((run / "states").iterdir())
    learnt = {name.split("/")[0] for name in load_file(state / "parameters.safetensors")}
    assert all(name.startswith(("projector.", "retrieval.")) for name in learnt)
    assert {name for name in learnt if name.startswith("retrieval.")} == {
        *("retrieval.token", "retrieval.image.weight", "retrieval.text.weight", "retrieval.logit_scale"),
    }
    ids = processor.caption_ids(["a white plane", "two ships in a harbour"])
    assert (ids == RET_ID).sum(dim=1).tolist() == [1, 1]
    with torch.no_grad():
        both, alone = model.embed_texts(ids), model.embed_texts(processor.caption_ids(["a white plane"]))
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-4)  # padding behind [RET] is not read
    assert kinds_given(capret, Opening()) == {"text", "embedding"}


@torch.no_grad()
def test_retrieval_by_the_token_is_scored_beside_captions(capret, data, tmp_path):
    settings = EvalSettings(controls=False, max_new_tokens=4)
    found = evaluate(capret, ["rsicd.retrieval", "rsicd.caption"], data, tmp_path / "out", settings).benchmarks
    assert found["rsicd.caption"].counts["records"] == 4
    model, processor = open_checkpoint(capret)
    pictures = sorted((data / "images").iterdir())[:4]
    images = model.embed_images(torch.stack([processor.pixels(str(path)) for path in pictures]))
    texts = model.embed_texts(processor.caption_ids([f"{number} planes near a road" for number in range(4)]))
    nearness = images @ texts.T
    metrics = found["rsicd.retrieval"].metrics
    hits = (nearness.argmax(dim=1) == torch.arange(4)).float().mean()
    assert metrics["image_to_text R@1"].value == pytest.approx(100 * float(hits))
    assert metrics["text_to_image R@5"].value == 100
