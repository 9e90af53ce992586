"""How large a full-size model is: what its files, its loading and its training take."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from skyeye.bench.full_size.weights import empty_model, language_settings
from skyeye.config.schema import VisionConfig
from skyeye.errors import SkyEyeError

#: Published sizes: LLaMA-2-7B and EVA-CLIP ViT-g.
WIDTH, LAYERS, TOWER_DEPTH, TOWER_WIDTH = 4096, 32, 39, 1408
#: Bytes beside weights and what is trained: interpreter, activations of a few pictures, what a file takes for itself.
_BESIDE_MEMORY, _BESIDE_DISK = 1.5e9, 0.1e9


@dataclass(frozen=True)
class Size:
    """Layers and width of the language model; the tower is as much smaller than the published one.

    Attributes:
        trained_layers: those of the model that is trained; fewer where products are slow.
    """

    layers: int = LAYERS
    width: int = WIDTH
    trained_layers: int = LAYERS

    @property
    def vision(self) -> VisionConfig:
        """The tower."""
        depth = TOWER_DEPTH if self.layers >= LAYERS else self.layers
        if self.width == WIDTH:
            return VisionConfig(depth=depth)
        width = max(16, self.width * TOWER_WIDTH // WIDTH // 16 * 16)
        return VisionConfig(image_size=56, width=width, depth=depth, heads=max(1, width // 88), mlp_ratio=4.0)

    def values(self, layers: int) -> tuple[int, int]:
        """Numbers that are frozen, and that are trained, in a model of so many layers."""
        model = empty_model(language_settings(layers, self.width), self.vision)
        model.set_trainable(vision="frozen", projector="full", language="lora")
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return sum(p.numel() for p in model.parameters()) - trained, trained


@dataclass(frozen=True)
class Needs:
    """Bytes.

    Attributes:
        weights: of all in bf16, trained ones in float32.
        memory: of the host.
        files: that are made.
        disk: for these and what the steps write.
        merged: for a whole export besides.
    """

    weights: int
    memory: int
    files: int
    disk: int
    merged: int


def needs(size: Size) -> Needs:
    """What the steps take."""
    frozen, trained = size.values(size.layers)
    fewer, also_trained = size.values(size.trained_layers)
    weights = 2 * frozen + 4 * trained
    # gradients and moments, and once more what a state is written from
    training = 2 * fewer + 4 * also_trained + 24 * also_trained
    files = 2 * frozen + 12 * trained  # the reference's file holds the moments, too
    # exports of both stages, three states while one is replaced, an export of adapters
    written = (8 + 36) * also_trained + 4 * trained
    return Needs(
        weights=weights,
        memory=int(max(weights, training) + _BESIDE_MEMORY),
        files=files,
        disk=int(files + written + _BESIDE_DISK),
        merged=2 * frozen + 4 * trained,
    )


def refuse_too_little(needed: Needs, work: Path) -> None:
    """Say what the steps need and what is free, and stop where it is not enough.

    Raises:
        SkyEyeError: memory or disk are too small.
    """
    there = next(part for part in (work, *work.absolute().parents) if part.exists())
    own = sum(path.stat().st_size for path in work.rglob("*") if path.is_file() and not path.is_symlink())
    disk, memory = shutil.disk_usage(there).free + own, psutil.virtual_memory().available
    for what, need, free in (("memory", needed.memory, memory), ("disk", needed.disk, disk)):
        line = f"needs {need / 1e9:.1f} GB of {what}; free: {free / 1e9:.1f} GB"
        if need > free:
            remedy = "fewer layers (--layers), another folder (--work), or end other programs"
            raise SkyEyeError(line, where=str(work) if what == "disk" else None, remedy=remedy)
        print(line, flush=True)
