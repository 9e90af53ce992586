"""Exported models of a run: ``checkpoints/<stage>/``, in Hugging Face shape, for eval, chat, and as the next start."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from skyeye.models.objective import MODEL
from skyeye.models.processing import SkyEyeProcessor
from skyeye.train.checkpoint.state import equal_bits, new_directory
from skyeye.train.context import Prepared


@dataclass(frozen=True)
class Exporter:
    """Exports the model of a stage: ``exporter(name, step)``. All processes call it together.

    Attributes:
        folder: of the run; exports go to ``checkpoints/<name>/``.
        manifest: what an export says about its stage, besides its step.
        recipe_yaml: the recipe as resolved.
    """

    prepared: Prepared
    processor: SkyEyeProcessor
    folder: Path
    manifest: dict[str, Any]
    recipe_yaml: str

    def __call__(self, name: str, step: int) -> None:
        target, manifest = self.folder / "checkpoints" / name, {**self.manifest, "step": step}
        export(self.prepared, self.processor, target, manifest, self.recipe_yaml)


def export(
    prepared: Prepared, processor: SkyEyeProcessor, target: Path, manifest: dict[str, Any], recipe_yaml: str
) -> None:
    """Write the whole model, the processor, the recipe and the manifest as a directory for ``from_pretrained``.

    The weights are read back and compared: that the directory is there says that the stage is finished.

    Raises:
        SkyEyeError: it could not be written, or is not what was written; what was there before stays.
    """
    accelerator = prepared.accelerator
    everything = accelerator.get_state_dict(prepared.objective)  # gathers the shards of ZeRO-3: all take part
    with new_directory(accelerator, target) as partial:
        if accelerator.is_main_process:
            weights = {n.removeprefix(MODEL): value for n, value in everything.items() if n.startswith(MODEL)}
            prepared.model.save_pretrained(partial, state_dict=dict(weights))
            _same_weights(partial, weights, prepared.model)
            processor.save_pretrained(partial)
            (partial / "recipe.yaml").write_text(recipe_yaml, encoding="utf-8")
            (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _same_weights(folder: Path, weights: dict[str, torch.Tensor], model) -> None:
    """Compare an export's files with the weights they were written from, one by one: all may be larger than memory."""
    missing = dict(weights)
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                if name not in weights or not equal_bits(file.get_tensor(name), weights[name]):
                    raise OSError(f"{path.name} reads back differently, e.g. {name}")
                missing.pop(name, None)
    written = {tensor.data_ptr() for name, tensor in weights.items() if name not in missing}
    lost = [name for name, tensor in missing.items() if tensor.data_ptr() not in written]  # tied ones stand there once
    # a part that is shared out under ZeRO-3 has its shape elsewhere
    shapes = {name: getattr(parameter, "ds_shape", parameter.shape) for name, parameter in model.named_parameters()}
    lost += [name for name, shape in shapes.items() if name in weights and weights[name].shape != shape]
    if lost:
        raise OSError(f"reads back without, or with a part of, {lost[0]}")
