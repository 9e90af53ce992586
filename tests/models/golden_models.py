"""What the tests of the golden models share: where the originals' numbers lie, and the folders as a person has them.

Everything is read from the files: another set of the same layout is tested by setting SKYEYE_GOLDEN_MODELS.
"""

from __future__ import annotations

import json
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor

_TESTS = Path(__file__).resolve().parents[1]
#: Own copy first, then the one that lies beside the project.
_PLACES = (_TESTS / "golden_models", _TESTS.parents[0] / "../shared/golden/models")
IMAGE = -200  # stands for an image in the originals' ids


def golden_folder(family: str) -> Path | None:
    """The folder of a family's numbers; None where there is none."""
    named = os.environ.get("SKYEYE_GOLDEN_MODELS")
    places = [Path(named)] if named else _PLACES
    return next((place.resolve() / family for place in places if (place / family / "sizes.json").is_file()), None)


def need(family: str) -> Path:
    """That folder; the test is skipped where there is none."""
    folder = golden_folder(family)
    if folder is None:
        pytest.skip(f"no golden numbers of {family}: set SKYEYE_GOLDEN_MODELS, or put them into tests/golden_models")
    return folder


@cache
def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@cache
def tensors(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def batch_names(folder: Path, variant: str, suffix: str = "") -> list[str]:
    """Names of the batches of a variant that have numbers, of LoRA with ``suffix`` ``.lora``."""
    named = read_json(folder / variant / "batches.json")
    return [name for name in named if (folder / variant / f"batch_{name}{suffix}.safetensors").is_file()]


def layout_as_published(golden: Path, variant: str, out: Path) -> Path:
    """The folders of a variant with tokenizer and tower where a person has them."""
    for folder in (path for path in (golden / variant).iterdir() if path.is_dir()):
        shutil.copytree(folder, out / folder.name)
        shutil.copytree(golden / "tokenizer", out / folder.name, dirs_exist_ok=True)
    shutil.copytree(golden / "vision_tower", out / "vision_tower")
    return out


def resize_of(aspect: str) -> str:
    """``image_aspect_ratio`` of LLaVA in our words."""
    return "pad" if aspect == "pad" else "crop"


def batch_inputs(
    golden: Path, variant: str, name: str, model: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor
) -> dict[str, torch.Tensor]:
    """Inputs of our model from the originals' ids: every image in as many places as it has tokens."""
    told = read_json(golden / variant / "batches.json")[name]
    stored = tensors(golden / variant / f"batch_{name}.safetensors")
    processor.image_resize = resize_of(told["image_aspect_ratio"])
    rows = [
        _expanded(ids[mask.bool()].tolist(), labels[mask.bool()].tolist(), model.tokens_per_image)
        for ids, labels, mask in zip(*(stored[key] for key in ("input_ids", "labels", "attention_mask")), strict=True)
    ]
    longest = max(len(ids) for ids, _ in rows)
    filled = [
        [values + [filler] * (longest - len(values)) for values, filler in zip(row, (0, -100), strict=True)]
        for row in rows
    ]
    mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows]
    images = [row["image"] for row in told["rows"] if "image" in row]
    return {
        "input_ids": torch.tensor([ids for ids, _ in filled]),
        "labels": torch.tensor([labels for _, labels in filled]),
        "attention_mask": torch.tensor(mask),
        "pixel_values": torch.stack([processor.pixels(golden / "images" / image) for image in images]),
    }


def _expanded(ids: list[int], labels: list[int], tokens: int) -> tuple[list[int], list[int]]:
    """Ids and labels with an image in as many places as it has tokens."""
    places = [(tokens if one == IMAGE else 1) for one in ids]
    ids = [-1 if one == IMAGE else one for one, count in zip(ids, places, strict=True) for _ in range(count)]
    return ids, [one for one, count in zip(labels, places, strict=True) for _ in range(count)]
