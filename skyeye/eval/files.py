"""Files of an evaluation, and the fingerprint of what was evaluated."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from skyeye.config.schema import ModelConfig
from skyeye.data.files import file_fingerprint, write_whole
from skyeye.data.formats.base.problems import load_json
from skyeye.data.hub import local_path
from skyeye.generation.opening import Opening
from skyeye.models.base import FILE as BASE

WEIGHTS = ("*.safetensors", "config.json", "base.json")
#: Of a folder of another project.
PUBLISHED = ("*.bin", "*.pt", "*.pth", "adapter_config.json")
#: What a processor and its tokenizer are saved as, and what else ``generate`` reads.
PROCESSOR = (
    "*processor_config.json",
    "*token*.json",
    "*.model",
    "vocab.*",
    "merges.txt",
    "*.jinja",
    "generation_*.json",
)
_LIBRARIES = ("skyeye", "torch", "transformers", "peft", "timm", "numpy", "scipy", "pillow", "pycocoevalcap")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line."""
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def checkpoint_fingerprint(checkpoint: Path, names: Sequence[str] = WEIGHTS) -> str:
    """SHA-256 over the files of a checkpoint directory that have these names (patterns): by default the weights and
    config.json; :data:`PROCESSOR` for what makes ids and pixels of questions and images."""
    digest = hashlib.sha256()
    inside = [checkpoint] if checkpoint.is_file() else {file for name in names for file in checkpoint.glob(name)}
    for file in sorted(inside):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def fingerprint_with_base(checkpoint: Path, opening: Opening) -> str:
    """The fingerprint of a checkpoint; of a part of a model (a file of the reference, a folder of another project) with
    that of its base, and with how it is opened where that is not as it was trained."""
    base, own = opening.base, checkpoint_fingerprint(checkpoint, (*WEIGHTS, *PUBLISHED))
    if opening.family or opening.resize:
        own = hashlib.sha256(f"{own} {opening.family} {opening.resize}".encode()).hexdigest()
    if base is None or (checkpoint / BASE).is_file():  # it says which base it was trained beside
        return own
    digest = hashlib.sha256(own.encode())
    if isinstance(base, ModelConfig):
        digest.update(repr(base).encode())
        named = [*(tower.weights for tower in base.towers), base.language.pretrained, base.tokenizer.path]
        digest.update(
            " ".join(file_fingerprint(path) for part in named if part and (path := local_path(part))).encode()
        )
    else:
        digest.update(checkpoint_fingerprint(Path(base), (*WEIGHTS, *PUBLISHED, *PROCESSOR)).encode())
    return digest.hexdigest()


def origin(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says about its making: recipe name, stage, step; what is not written there is None."""
    manifest_file, recipe_file = checkpoint / "manifest.json", checkpoint / "recipe.yaml"
    manifest = load_json(manifest_file, dict) if manifest_file.is_file() else {}
    recipe = yaml.safe_load(recipe_file.read_text(encoding="utf-8")) if recipe_file.is_file() else {}
    return {"recipe": recipe.get("name"), "stage": manifest.get("stage"), "step": manifest.get("step")}


def library_versions() -> dict[str, str]:
    """Python and library versions that scores depend on."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that was not installed
            found[name] = "not installed"
    return found
