"""Exported models of a run: ``checkpoints/<stage>/``, in Hugging Face shape, for eval, chat, and as the next start."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import save_file

from skyeye.models.adapters import ADAPTERS, peft_name, plain_name
from skyeye.models.base import NO_BASE, Base
from skyeye.models.language import is_adapter
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor
from skyeye.train.checkpoint.ema import gathered
from skyeye.train.checkpoint.state import equal_bits, new_directory
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
            beside = _write_adapters(partial, model, weights, base)
            model.save_pretrained(partial, state_dict={n: t for n, t in weights.items() if n not in beside})
            if base:
                base.write(partial)
            _same_weights(partial, weights, model)
            processor.save_pretrained(partial)
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


def _write_adapters(
    folder: Path, model: SkyEyeForConditionalGeneration, weights: dict[str, torch.Tensor], base: Base
) -> dict[str, str]:
    """Adapters of a language model that is left out, in a file that PEFT reads: their names -> those in the file."""
    opening = "language_model."
    if base.language is None or not isinstance(model.language_model, PeftModel):
        return {}
    names = {n: peft_name(n.removeprefix(opening)) for n in weights if n.startswith(opening) and is_adapter(n)}
    save_file({file: weights[name].contiguous() for name, file in names.items()}, folder / ADAPTERS, {"format": "pt"})
    config = copy.copy(model.language_model.peft_config["default"])
    config.base_model_name_or_path, config.inference_mode = base.language.source, True
    config.save_pretrained(str(folder))
    return names


def _same_weights(folder: Path, weights: dict[str, torch.Tensor], model: SkyEyeForConditionalGeneration) -> None:
    """Compare an export's files with the weights they were written from, one by one: all may be larger than memory."""
    missing = dict(weights)
    for path in sorted(folder.glob("*.safetensors")):
        ours = {peft_name(name.removeprefix("language_model.")): name for name in weights if is_adapter(name)}
        with safe_open(path, "pt") as file:
            for stored in file.keys():
                name = ours.get(stored, stored) if path.name == ADAPTERS else stored
                if name not in weights or not equal_bits(file.get_tensor(stored), weights[name]):
                    raise OSError(f"{path.name} reads back differently, e.g. {name}")
                missing.pop(name, None)
    written = {tensor.data_ptr() for name, tensor in weights.items() if name not in missing}
    lost = [name for name, tensor in missing.items() if tensor.data_ptr() not in written]  # tied ones stand there once
    # a part that is shared out under ZeRO-3 has its shape elsewhere
    shapes = {name: getattr(parameter, "ds_shape", parameter.shape) for name, parameter in model.named_parameters()}
    lost += [name for name, shape in shapes.items() if name in weights and weights[name].shape != shape]
    if lost:
        raise OSError(f"reads back without, or with a part of, {lost[0]}")
