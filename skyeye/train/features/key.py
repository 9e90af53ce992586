"""What a feature cache is made from: the tower's weights, the pixel transform, the precision, the shape of a row.

Features may stand in for pixels only while all of this is the same. It is written out in the cache's ``manifest.json``,
and a cache that differs anywhere is refused with the difference in words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from skyeye.config.schema import StageConfig, VisionConfig
from skyeye.data.files import write_whole
from skyeye.errors import SkyEyeError
from skyeye.models.configuration import vision_fields
from skyeye.models.vision import JoinedTowers, PixelTransform, VisionTower, vision_shape

#: Version of the files of a cache.
FORMAT = 1
#: Version of the way from an image file to pixels (:func:`skyeye.train.loader.load_pixels`). Raise it with every change
#: that changes a pixel; a test pins the pixels of this version.
TRANSFORM = 2

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MANIFEST = "manifest.json"
_SIZES = ("patch_size", "width", "depth", "heads", "mlp_ratio")
_LAYOUT = {"eva": _SIZES, "clip": (*_SIZES, "activation"), "timm": ("name", "stem")}
#: How a picture becomes square, as manifests say it (:func:`skyeye.data.images.square.to_square`).
_RESAMPLING = {
    "stretch": "bicubic, aspect ratio not kept",
    "pad": "bicubic, padded to a square of the mean colour",
    "crop": "bicubic, the middle square",
}
_ABOUT = (
    "What a frozen vision tower sees of pictures, one row of rows.bin for each: patch tokens in raster order, little"
    " endian. index.bin says which picture a row is of: SHA-256 of the bytes of its file, and the row's CRC-32."
    " made_from says for which tower and which pixels the rows hold; for any other they are refused."
)


def made_from(
    tower: VisionTower | JoinedTowers, vision: VisionConfig | list[VisionConfig], precision: str, dtype: str
) -> dict[str, Any]:
    """Everything a row depends on besides its picture, as plain values.

    Args:
        tower: the frozen tower or towers, weights in place.
        vision: how it was built, and the pixel transform.
        precision: of the tower's arithmetic, as in ``run.precision``.
        dtype: of the rows, a key of :data:`DTYPES`.
    """
    shape, transform = vision_shape(vision_fields(vision)), PixelTransform.of(vision)
    several = isinstance(vision, list)
    layout = {"architecture": "joined", "towers": [_layout(one) for one in vision]} if several else _layout(vision)
    content = {
        "tower": {"weights": weights_digest(tower), **layout},
        "transform": {
            "version": TRANSFORM,
            "image_size": transform.size,
            "resampling": _resampling(transform.resize),
            "exif_rotation": True,
            "mean": transform.mean,
            "std": transform.std,
        },
        "precision": precision,
        "row": {"dtype": dtype, "patches": shape.tokens, "width": shape.width},
    }
    return json.loads(json.dumps(content))  # lists and numbers as a manifest gives them back


def _resampling(resize: str | Sequence[str]) -> str | list[str]:
    """Of one tower, or of several that do not all do the same; caches made before there was a choice still fit."""
    ways = [resize] if isinstance(resize, str) else list(resize)
    named = [_RESAMPLING[way] for way in ways]
    return named[0] if len(set(named)) == 1 else named


def _layout(vision: VisionConfig) -> dict[str, Any]:
    """How one tower is built. Levels are named where some are chosen: caches made before there were any still fit."""
    settings = asdict(vision)
    levels = () if vision.layers is None else ("layers", "level_norm")
    names = (*_LAYOUT[vision.architecture], "arguments", *levels)
    return {"architecture": vision.architecture, **{name: settings[name] for name in names}}


def refuse_inexact(stage: StageConfig, tower: VisionTower | JoinedTowers) -> None:
    """Refuse a cache where what the tower sees of a picture is not one fixed thing.

    The only such case today is a tower that learns. A random transform of the pixels belongs here, too.
    """
    if stage.vision != "frozen" or any(parameter.requires_grad for parameter in tower.parameters()):
        raise SkyEyeError(
            "the stage trains the tower, so what it sees of a picture changes with every step",
            where=f"stages.{stage.name}.feature_cache",
            remedy="leave feature_cache out, or set vision: frozen",
        )


def weights_digest(tower: VisionTower | JoinedTowers) -> str:
    """SHA-256 over names, types, shapes and values of all weights and buffers that a checkpoint holds."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def row_shape(made: dict[str, Any]) -> tuple[int, int, torch.dtype]:
    """(patches, width, dtype) of a row."""
    row = made["row"]
    return row["patches"], row["width"], DTYPES[row["dtype"]]


def row_bytes(made: dict[str, Any]) -> int:
    """Size of a row on disk."""
    patches, width, dtype = row_shape(made)
    return patches * width * dtype.itemsize


def write_manifest(folder: Path, made: dict[str, Any], made_with: dict[str, str]) -> None:
    """Write ``manifest.json``, whole or not at all."""
    content = {
        "skyeye_feature_cache": FORMAT,
        "about": _ABOUT,
        "key": key_of(made),
        "made_from": made,
        "made_with": made_with,
    }
    write_whole(folder / MANIFEST, json.dumps(content, indent=1) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a cache.

    Raises:
        SkyEyeError: no cache, damaged, changed by hand, or of another version of skyeye.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, made = content["skyeye_feature_cache"], content["made_from"]
        if version == FORMAT and content["key"] == key_of(made) and row_bytes(made) > 0:
            return content
    except FileNotFoundError:
        remedy = "build one with `skyeye cache build RECIPE`"
        raise SkyEyeError(f"is no feature cache: it has no {MANIFEST}", where=str(folder), remedy=remedy) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SkyEyeError(
            f"is not the manifest of a feature cache ({type(error).__name__}: {error})",
            where=str(path),
            remedy="remove the folder and build it again",
        ) from error
    if version != FORMAT:
        what = f"is a feature cache of version {version!r}; this skyeye reads and writes version {FORMAT}"
        raise SkyEyeError(what, where=str(folder), remedy="build it again in another folder")
    raise SkyEyeError(
        "made_from was changed after the cache was made: it does not fit its key",
        where=str(path),
        remedy="remove the folder and build it again",
    )


def key_of(made: dict[str, Any]) -> str:
    """SHA-256 of :func:`made_from`."""
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def refuse_other(folder: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Refuse a cache that is not made from what is ``here``, naming every difference.

    Raises:
        SkyEyeError: anything differs.
    """
    ours, theirs = dict(_leaves(here)), dict(_leaves(there))
    differing = [
        f"{name}: {_short(theirs.get(name))} in the cache, {_short(ours.get(name))} here"
        for name in {**ours, **theirs}
        if theirs.get(name) != ours.get(name)
    ]
    if differing:
        raise SkyEyeError(
            "the feature cache was made from something else and is not used; " + "; ".join(differing),
            where=str(folder),
            remedy="name another folder for this tower, or remove this one",
        )


def _leaves(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and name != "arguments":
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield above + name, value


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < 40 else f"{text[:12]}..."
