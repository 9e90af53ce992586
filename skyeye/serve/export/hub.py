"""What the Hugging Face hub would take of a folder, checked without network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from huggingface_hub import ModelCard
from huggingface_hub.utils import filter_repo_objects

from skyeye.serve.export.checksums import files_of
from skyeye.serve.export.private import is_machine_path, machine_paths

#: The largest file that the hub takes in one piece.
LARGEST = 50 * 10**9
#: What ``upload_folder`` leaves out.
_LEFT_OUT = [".git", ".git/*", "*/.git", "**/.git/**", ".cache/*", "**/.cache/**"]
#: Files that run code when they are loaded.
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".joblib", ".h5")


def uploaded(folder: Path) -> dict[str, int]:
    """Name and bytes of each file that ``huggingface_hub.upload_folder`` would send."""
    names = filter_repo_objects(files_of(folder), ignore_patterns=_LEFT_OUT)
    return {name: (folder / name).stat().st_size for name in names}


def what_the_hub_would_refuse(folder: Path, pickles: bool = False) -> Iterator[str]:
    """What is wrong with a folder as a model on the hub, a sentence each.

    Args:
        pickles: files of PyTorch are the format itself (MiniGPT-v2's).
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield f"{name} is a link: what it points to would be sent, or nothing"
        elif path.is_file() and name.startswith("."):
            yield f"{name} is a hidden file"
    for name, size in uploaded(folder).items():
        if size > LARGEST:
            yield f"{name} has {size / 1e9:.1f} GB; the hub takes at most {LARGEST / 1e9:.0f} in one file"
        if name.lower().endswith(_PICKLES) and not pickles:
            yield f"{name} is no safetensors file: loading it may run code"
    for name, key, path in machine_paths(folder):
        yield f"{name}, {key}: {path} is a path of one machine"
    yield from _card(folder / "README.md")


def _card(path: Path) -> Iterator[str]:
    if not path.is_file():
        yield "README.md is missing: the hub shows it as the model's card"
        return
    try:
        data = ModelCard.load(path).data.to_dict()
    except (ValueError, yaml.YAMLError) as error:
        yield f"README.md: its head is no metadata of the hub: {' '.join(str(error).split())[:200]}"
        return
    for key in ("license", "library_name", "pipeline_tag"):
        if not data.get(key):
            yield f"README.md: its head names no {key}"
    bases = data.get("base_model") or []
    for base in [bases] if isinstance(bases, str) else bases:
        if is_machine_path(base) or base.count("/") != 1:
            yield f"README.md: base_model {base} is no name on the hub"
