"""Exported models of a run: ``checkpoints/<stage>/``, in Hugging Face shape, for eval, chat, and as the next start."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from skyeye.models.adapters import plain_name
from skyeye.models.base import NO_BASE, Base
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.save import save_checkpoint
from skyeye.train.checkpoint.ema import gathered
from skyeye.train.checkpoint.state import new_directory
from skyeye.train.context import Prepared


@dataclass(frozen=True)
class Exporter:
    """Exports the model of a stage: ``exporter(name, step)``. All processes call it together.

    Attributes:
        folder: of the run; exports go to ``checkpoints/<name>/``.
        manifest: what an export says about its stage, besides its step.
        recipe_yaml: the recipe as resolved.
        base: the parts that are not written: they lie, unchanged, where the recipe has them from.
    """

    prepared: Prepared
    processor: SkyEyeProcessor
    folder: Path
    manifest: dict[str, Any]
    recipe_yaml: str
    base: Base = NO_BASE

    def __call__(self, name: str, step: int) -> None:
        target, manifest = self.folder / "checkpoints" / name, {**self.manifest, "step": step}
        export(self.prepared, self.processor, target, manifest, self.recipe_yaml, self.base)


def export(
    prepared: Prepared,
    processor: SkyEyeProcessor,
    target: Path,
    manifest: dict[str, Any],
    recipe_yaml: str,
    base: Base = NO_BASE,
) -> None:
    """Write the model but for its base, the processor, the recipe and the manifest as a directory for
    ``from_pretrained``.

    The weights are read back and compared: that the directory is there says that the stage is finished.

    Raises:
        SkyEyeError: it could not be written, or is not what was written; what was there before stays.
    """
    accelerator, model = prepared.accelerator, prepared.model
    weights = exported_weights(prepared, base)  # gathers the shards of ZeRO-3: all take part
    with new_directory(accelerator, target) as partial:
        if accelerator.is_main_process:
            save_checkpoint(partial, model, weights, base, processor)
            _refuse_shares(model, weights)
            (partial / "recipe.yaml").write_text(recipe_yaml, encoding="utf-8")
            (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def exported_weights(prepared: Prepared, base: Base) -> dict[str, torch.Tensor]:
    """The tensors of an export by name, in the main process; nothing in the others, and no copy of what is not shared
    out. All processes take part."""
    model, main = prepared.model, prepared.accelerator.is_main_process
    shared_out = {name: p for name, p in model.named_parameters() if hasattr(p, "ds_id")}
    weights = {}
    for name, parameter in shared_out.items():
        if not base.covers(plain_name(name)):
            with gathered(parameter):
                if main:
                    weights[name] = parameter.detach().to("cpu", copy=True)
    if main:
        whole = {name: tensor for name, tensor in model.state_dict().items() if name not in shared_out}
        ignored = model._keys_to_ignore_on_save or ()
        weights |= {n: t for n, t in whole.items() if n not in ignored and not base.covers(plain_name(n))}
    return weights


def _refuse_shares(model: SkyEyeForConditionalGeneration, weights: dict[str, torch.Tensor]) -> None:
    """A part that is shared out under ZeRO-3 must have been gathered whole."""
    for name, parameter in model.named_parameters():
        if name in weights and weights[name].shape != getattr(parameter, "ds_shape", parameter.shape):
            raise OSError(f"is a part of {name} only")
