"""A made world of a few pictures and a recipe that trains a tiny model on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from skyeye.data.synth import write_world


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "world"
    write_world(out, images=12, seed=3, held_out=4, size=56)
    return out


@pytest.fixture
def recipe(tmp_path, world) -> Callable[..., Path]:
    """A function that writes the recipe with some sections replaced, and returns its path."""

    def write(**changes) -> Path:
        stage = {
            "mixture": [{"source": "world"}],
            "steps": 4,
            "groups_per_step": 4,
            "branches": 3,
            "optimizer": {"lr": 3e-3, "min_lr": 1e-4, "warmup_lr": 1e-3, "warmup_steps": 1},
        }
        content = {
            "name": "test",
            "output_dir": str(tmp_path / "run"),
            "seed": 7,
            "model": {
                "vision": {"image_size": 28, "patch_size": 7, "width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2.0},
                "projector": {"join_tokens": 4},
                "language": {
                    "config": {
                        "model_type": "llama",
                        "hidden_size": 16,
                        "intermediate_size": 24,
                        "num_hidden_layers": 2,
                        "num_attention_heads": 2,
                        "max_position_embeddings": 512,
                    }
                },
                "tokenizer": {"train_vocab_size": 700, "box_tokens": True},
                "lora": {"r": 2, "alpha": 4, "dropout": 0.0},
            },
            "sources": {"world": {"format": "made_world", "path": str(world)}},
            "stages": [
                {"name": "pretrain", "vision": "full", "projector": "full", "language": "full", **stage},
                {"name": "single_task", **stage},
            ],
            "run": {"precision": "fp32", "workers": 0, "log_every": 1, "checkpoint_every": 2},
        }
        content.update(changes)
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture
def launch() -> Callable[..., subprocess.CompletedProcess]:
    """A function that trains in processes of their own: ``launch(recipe, *overrides, processes=2)``."""

    def run(recipe: Path, *overrides: str, processes: int = 1, check: bool = True) -> subprocess.CompletedProcess:
        command = ["-m", "skyeye.train", str(recipe), *overrides]
        if processes > 1 or any("strategy=zero" in override for override in overrides):
            torchrun = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--master_port=0"]
            command = [*torchrun[:2], "--standalone", torchrun[2], *command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=300, env=environment, check=False
        )
        assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done

    return run
