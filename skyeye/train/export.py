"""Exported models of a run: ``checkpoints/<stage>/``, in Hugging Face shape, for eval, chat, and as the next start."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import safe_open

from skyeye.train.state import equal_bits, new_directory


def export(accelerator: Accelerator, model, processor, target: Path, manifest: dict, recipe_yaml: str) -> None:
    """Write the whole model, the processor, the recipe and the manifest as a directory for ``from_pretrained``.

    The weights are read back and compared: that the directory is there says that the stage is finished.

    Raises:
        SkyEyeError: it could not be written, or is not what was written; what was there before stays.
    """
    weights = accelerator.get_state_dict(model)  # gathers the shards of ZeRO-3: every process takes part
    with new_directory(accelerator, target) as partial:
        if accelerator.is_main_process:
            plain = accelerator.unwrap_model(model)
            plain.save_pretrained(partial, state_dict=dict(weights))
            _same_weights(partial, weights, plain)
            processor.save_pretrained(partial)
            (partial / "recipe.yaml").write_text(recipe_yaml, encoding="utf-8")
            (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _same_weights(folder: Path, weights: dict[str, torch.Tensor], model) -> None:
    """Compare an export's files with the weights they were written from, one by one: all may be larger than memory."""
    missing = {name: tensor for name, tensor in weights.items() if name not in model._keys_to_ignore_on_save}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  no dictionary
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
