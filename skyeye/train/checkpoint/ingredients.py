"""What reaches the model from outside the recipe's text: files of weights and tokenizers, pictures, libraries.

A run that goes on compares them with what it was started with. Everything is looked at by the first process only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skyeye.config.schema import ModelConfig
from skyeye.data.files import file_fingerprint
from skyeye.data.groups import GroupList, GroupSource
from skyeye.data.images.reference import parse_reference


def files_of_model(model: ModelConfig) -> dict[str, str]:
    """Setting -> fingerprint of the file or folder that it names; a name on the hub has none."""
    named = {f"model.vision[{i}].weights": tower.weights for i, tower in enumerate(model.towers)}
    named |= {"model.language.pretrained": model.language.pretrained, "model.tokenizer.path": model.tokenizer.path}
    named |= {"model.checkpoint": model.checkpoint, "model.text.weights": model.text and model.text.weights}
    return {setting: file_fingerprint(Path(path)) for setting, path in named.items() if path and Path(path).exists()}


def contents(groups: GroupSource) -> str | None:
    """A short hash of what a source's fingerprint does not hold: names and sizes of its pictures, regions of its
    records. None for shards, whose index holds checksums of all that."""
    if not isinstance(groups, GroupList):
        return None
    digest = hashlib.blake2b(digest_size=8)
    sizes: dict[str, int] = {}
    for number in range(len(groups)):
        for image in groups.table.group_images(number):
            path, _ = parse_reference(image)
            if path not in sizes:
                sizes[path] = _size(path)
            digest.update(f"{image}\0{sizes[path]}\0".encode("utf-8", "surrogateescape"))
        for regions in groups.table.group_regions(number):
            digest.update(f"{regions}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def changed(before: Mapping[str, Any], now: Mapping[str, Any], what: str) -> list[str]:
    """``what key before -> now`` for entries that differ; what was not noted then is not compared."""
    pairs = [(key, before[key], now[key]) for key in before if now.get(key) is not None]
    return [f"{what}{key} {one} -> {other}" for key, one, other in pairs if one is not None and one != other]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # the reading of its samples tells
        return -1
