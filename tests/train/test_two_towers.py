"""Contrastive stages: one step of the recipes' kind, equal losses with two processes, exports that open again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

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
        "sources": {"captions": {"format": "synthetic", "path": str(world), "images": None, "split": None}},
        "stages": {
            "pairs": {
                "steps": 3,
                "images_per_step": 6,
                "mixture": [{"source": "captions", "tasks": {"caption": 1}}],
                "optimizer": {"warmup_steps": 0},
                **stage,
            }
        },
        "run": {"precision": "fp32", "workers": 0, "log_every": 1},
    }
    (out / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return out / "tiny.yaml"


def test_a_stage_trains_and_its_export_opens(world, tmp_path):
    model = train(tiny(world, tmp_path))
    losses = [entry["loss"] for entry in read_log(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert len(losses) == 3 and all(0 < loss < 5 for loss in losses)
    opened, processor = open_two_towers(model)
    ids = processor.caption_ids(["a white plane", "two ships"])
    with torch.no_grad():
        texts = opened.embed_texts(ids)
    assert ids.shape == (2, 24) and texts.norm(dim=1).tolist() == pytest.approx([1, 1])
