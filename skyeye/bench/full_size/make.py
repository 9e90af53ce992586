"""``python -m skyeye.bench.full_size.make FOLDER --layers N``: the files and recipes that the steps start from."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from skyeye.bench.full_size.sizes import Size
from skyeye.bench.full_size.weights import (
    language_settings,
    link_language,
    write_language,
    write_released,
    write_tower,
)
from skyeye.data.files import write_whole

#: Of the folder: what is made of weights, and what the steps write and a new start removes.
WEIGHTS, RUN = "weights", ("run", "adapters", "merged", "eval")


def main(arguments: list[str] | None = None) -> int:
    """Make what is not there yet."""
    parser = argparse.ArgumentParser(prog="skyeye.bench.full_size.make")
    parser.add_argument("folder", type=Path)
    for name in ("layers", "width", "trained-layers"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args(arguments)
    size = Size(given.layers, given.width, given.trained_layers)
    for name in RUN:
        shutil.rmtree(given.folder / name, ignore_errors=True)
    made = make_weights(given.folder / WEIGHTS, size)
    write_recipes(given.folder, size)
    print("made" if made else "there already")
    return 0


def make_weights(folder: Path, size: Size) -> bool:
    """Write the files of the published layouts; False: those of this size are there already."""
    stamp, said = folder / "size.txt", f"{size.layers} layers of {size.width}\n"
    made = not stamp.is_file() or stamp.read_text(encoding="utf-8") != said
    if made:
        shutil.rmtree(folder, ignore_errors=True)
        write_language(folder / "llama", size.layers, size.width)
        write_tower(folder / "eva_vit_g.pth", size.vision)
        write_released(folder / "SkyEyeGPT.pth", language_settings(size.layers, size.width), size.vision)
        write_whole(stamp, said)
    if size.trained_layers != size.layers:
        link_language(folder / "llama", folder / "llama-shallow", size.trained_layers)
    return made


def write_recipes(folder: Path, size: Size) -> None:
    """``released.yaml``: what ``SkyEyeGPT.pth`` belongs to; ``train.yaml``: a run of two stages of two steps."""
    language = "llama" if size.trained_layers == size.layers else "llama-shallow"
    _write(folder / "released.yaml", {"name": "released", "model": _model(folder, size, "llama")})
    content = {
        "name": "full_size",
        "output_dir": str(folder / "run"),
        "seed": 1,
        "model": _model(folder, size, language),
        "sources": {"world": {"format": "synthetic", "path": str(folder / "scenes")}},
        "stages": [_stage("first", images=2), _stage("second", images=1)],
        "run": {
            "precision": "bf16",
            "frozen": "bf16",
            "gradient_checkpointing": True,
            "workers": 0,
            "log_every": 1,
            "checkpoint_every": 1,
        },
    }
    _write(folder / "train.yaml", content)


def _model(folder: Path, size: Size, language: str) -> dict[str, Any]:
    vision = {key: value for key, value in asdict(size.vision).items() if value is not None}
    return {
        "vision": {**vision, "weights": str(folder / WEIGHTS / "eva_vit_g.pth")},
        "projector": {"type": "linear", "join_tokens": 4},
        "language": {"pretrained": str(folder / WEIGHTS / language)},
        "lora": {"r": 64, "alpha": 16, "dropout": 0.05, "target_modules": ["q_proj", "v_proj"]},
    }


def _stage(name: str, images: int) -> dict[str, Any]:
    """Two steps, few tokens."""
    optimizer = {"lr": 1e-5, "min_lr": 1e-6, "warmup_lr": 1e-6, "warmup_steps": 1}
    mixture = [{"source": "world"}]
    stage = {"name": name, "mixture": mixture, "steps": 2, "images_per_step": images, "questions_per_image": 2}
    return {**stage, "optimizer": optimizer}


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, yaml.safe_dump(content, sort_keys=False))


if __name__ == "__main__":
    sys.exit(main())
