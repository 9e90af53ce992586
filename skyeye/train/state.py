"""Resume states and exported models of a run, as directories that explain themselves.

``states/<stage>-<step>/``     what a run needs to go on: trained weights, optimiser, step
``checkpoints/<stage>/``       the model after a stage, in Hugging Face shape: for eval, chat, and as the next start
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file

from skyeye.errors import SkyEyeError

#: Resume states kept on disk; a newer one is complete before an older one goes.
KEPT_STATES = 2


@contextmanager
def new_directory(accelerator: Accelerator, target: Path) -> Iterator[Path]:
    """Write a directory under a temporary name on all processes, then rename it: it is there whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    yield partial
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if target.exists():
            shutil.rmtree(target)
        os.replace(partial, target)
    accelerator.wait_for_everyone()


def save_state(accelerator: Accelerator, model, optimizer, folder: Path, manifest: dict) -> Path:
    """Save what the run needs to go on after ``manifest['step']`` steps of stage ``manifest['stage']``.

    Single and DDP runs write the trained parameters (safetensors) and the optimiser; ZeRO runs write DeepSpeed's own
    sharded state, without the frozen parameters.
    """
    target = folder / "states" / f"{manifest['stage']}-{manifest['step']:07d}"
    with new_directory(accelerator, target) as partial:
        if accelerator.distributed_type == DistributedType.DEEPSPEED:
            accelerator.save_state(str(partial / "deepspeed"), exclude_frozen_parameters=True)
        elif accelerator.is_main_process:
            save_file(_trained_parameters(accelerator.unwrap_model(model)), partial / "trained.safetensors")
            torch.save(optimizer.state_dict(), partial / "optimizer.pt")
            if accelerator.scaler is not None:
                torch.save(accelerator.scaler.state_dict(), partial / "scaler.pt")
        if accelerator.is_main_process:
            (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    if accelerator.is_main_process:
        for old in sorted((folder / "states").glob("*-*"), key=lambda path: path.stat().st_mtime)[:-KEPT_STATES]:
            shutil.rmtree(old)
    return target


def load_state(accelerator: Accelerator, model, optimizer, state: Path) -> None:
    """Load what :func:`save_state` wrote into a prepared model and optimiser."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        if not (state / "deepspeed").is_dir():
            raise _other_strategy(state)
        accelerator.load_state(str(state / "deepspeed"), load_module_strict=False)
        return
    if not (state / "trained.safetensors").is_file():
        raise _other_strategy(state)
    unwrapped = accelerator.unwrap_model(model)
    saved = load_file(state / "trained.safetensors")
    expected = _trained_parameters(unwrapped)
    if saved.keys() != expected.keys():
        odd = sorted(saved.keys() ^ expected.keys())
        raise SkyEyeError(
            f"{len(odd)} trained parameters differ between the state and the recipe, e.g. {odd[0]}",
            where=str(state),
            remedy="resume with the recipe that the run folder holds",
        )
    unwrapped.load_state_dict(saved, strict=False)
    optimizer.load_state_dict(torch.load(state / "optimizer.pt", weights_only=True))
    if accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(torch.load(state / "scaler.pt", weights_only=True))


def latest_state(folder: Path) -> tuple[Path, dict] | None:
    """The newest complete resume state of a run folder and its manifest."""
    states = [path for path in (folder / "states").glob("*-*") if (path / "manifest.json").is_file()]
    if not states:
        return None
    newest = max(states, key=lambda path: path.stat().st_mtime)
    return newest, json.loads((newest / "manifest.json").read_text(encoding="utf-8"))


def export(accelerator: Accelerator, model, processor, target: Path, manifest: dict, recipe_yaml: str) -> None:
    """Write the whole model, the processor, the recipe and the manifest as a directory for ``from_pretrained``."""
    weights = accelerator.get_state_dict(model)  # gathers the shards of ZeRO-3: every process takes part
    with new_directory(accelerator, target) as partial:
        if accelerator.is_main_process:
            accelerator.unwrap_model(model).save_pretrained(partial, state_dict=weights)
            processor.save_pretrained(partial)
            (partial / "recipe.yaml").write_text(recipe_yaml, encoding="utf-8")
            (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _trained_parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    # Tied weights appear once: named_parameters leaves duplicates out, and safetensors refuses them.
    return {name: p.detach().contiguous().cpu() for name, p in model.named_parameters() if p.requires_grad}


def _other_strategy(state: Path) -> SkyEyeError:
    return SkyEyeError(
        "this state was saved under another strategy",
        where=str(state),
        remedy="resume with the strategy named in the recipe.yaml of the run folder",
    )
