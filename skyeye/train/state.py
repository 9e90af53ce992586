"""Resume states and exported models of a run, as directories that explain themselves.

``states/<stage>-<step>/``     what a run needs to go on: trained weights, optimiser, step
``checkpoints/<stage>/``       the model after a stage, in Hugging Face shape: for eval, chat, and as the next start

A state says the same whatever strategy wrote it, so that any other can go on with it: ``parameters.safetensors`` and
``moments.safetensors`` hold float32 tensors by parameter name (:mod:`skyeye.train.snapshot`), ``manifest.json`` the
rest, with the checksum of both files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from skyeye.config.schema import RunConfig
from skyeye.errors import SkyEyeError
from skyeye.train.ema import MovingAverage
from skyeye.train.loss_scale import loss_scaler
from skyeye.train.snapshot import collect, give_back, trained

#: Files of a state that are protected by a checksum.
TENSORS = ("parameters.safetensors", "moments.safetensors")


@contextmanager
def new_directory(accelerator: Accelerator, target: Path) -> Iterator[Path]:
    """Write a directory under a temporary name, then rename it: it is there whole or not at all, also after a crash.

    Only process 0 may write. What goes wrong there is told on all processes.

    Raises:
        SkyEyeError: it could not be written (disk full, no permission); what was there before is untouched.
    """
    partial = target.with_name(f".{target.name}.partial")
    problem: list[object] = [None]
    if accelerator.is_main_process:
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        except OSError as error:
            problem = [str(error)]
    accelerator.wait_for_everyone()
    try:
        yield partial
        if accelerator.is_main_process:
            _onto_disk(partial)
            _replace(partial, target)
    except (OSError, SafetensorError) as error:
        problem = [str(error)]
    if accelerator.num_processes > 1:
        broadcast_object_list(problem)
    if problem[0] is not None:
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        raise SkyEyeError(
            f"could not be written: {problem[0]}",
            where=str(target),
            remedy="make room or mend the permissions, then go on with --resume: the states before this one are whole",
        )
    accelerator.wait_for_everyone()


def save_state(
    accelerator: Accelerator,
    model,
    optimizer,
    folder: Path,
    manifest: dict,
    run: RunConfig,
    average: MovingAverage | None = None,
) -> Path:
    """Save what the run needs to go on after ``manifest['step']`` steps of stage ``manifest['stage']``.

    It is read back and compared with what was to be written before any older state goes.

    Args:
        manifest: goes into ``manifest.json``; ``loss`` in it chooses the best state.
        run: how many states are kept.
        average: of what is trained, where the stage keeps one; it lies beside the moments as ``name/average``.

    Raises:
        SkyEyeError: it could not be written, or is not what was written; older states stay.
    """
    target = folder / "states" / f"{manifest['stage']}-{manifest['step']:07d}"
    parameters, moments, steps = collect(accelerator, model, optimizer)
    averages = {} if average is None else average.state_dict()
    moments |= {f"{name}/average": tensor for name, tensor in averages.items()}
    with new_directory(accelerator, target) as partial:
        if accelerator.is_main_process:
            for name, tensors in zip(TENSORS, (parameters, moments), strict=True):
                save_file(tensors, partial / name)
                _same(load_file(partial / name), tensors, partial / name)
            serial = 1 + max([state["serial"] for _, state in complete_states(folder)], default=0)
            scaler = loss_scaler(accelerator, optimizer)
            written = {
                **manifest,
                "serial": serial,
                "optimizer_steps": steps,
                "scaler": None if scaler is None else scaler.state_dict(),
                "checksums": {name: checksum(partial / name) for name in TENSORS},
            }
            (partial / "manifest.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
    if accelerator.is_main_process:
        for old in _superfluous(complete_states(folder), run):
            _remove(old)
    return target


def load_state(accelerator: Accelerator, model, optimizer, state: Path, average: MovingAverage | None = None) -> dict:
    """Load what :func:`save_state` wrote into a prepared model and optimiser, of this strategy or another.

    Returns:
        Its manifest.

    Raises:
        SkyEyeError: the trained parameters are not those of the recipe.
    """
    manifest = json.loads((state / "manifest.json").read_text(encoding="utf-8"))
    parameters, moments = (load_file(state / name) for name in TENSORS)
    expected = {name for name, _ in trained(accelerator.unwrap_model(model))}
    if parameters.keys() != expected:
        odd = sorted(parameters.keys() ^ expected)
        raise SkyEyeError(
            f"{len(odd)} trained parameters differ between the state and the recipe, e.g. {odd[0]}",
            where=str(state),
            remedy="resume with the recipe that the run folder holds",
        )
    give_back(accelerator, model, optimizer, parameters, moments, manifest["optimizer_steps"])
    if average is not None:
        averages = {name: tensor for name, tensor in moments.items() if name.endswith("/average")}
        average.load_state_dict({name.removesuffix("/average"): tensor for name, tensor in averages.items()})
    scaler = loss_scaler(accelerator, optimizer)
    if scaler is not None and manifest["scaler"] is not None:
        scaler.load_state_dict(manifest["scaler"])
    return manifest


def complete_states(folder: Path) -> list[tuple[Path, dict]]:
    """Resume states of a run folder with their manifests, oldest first; damaged manifests are no states."""
    found = []
    for path in (folder / "states").glob("*-*/manifest.json"):
        if not path.parent.name.startswith("."):
            found.append((path.parent, json.loads(path.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda entry: entry[1]["serial"])


def latest_state(folder: Path, stage: str | None = None) -> tuple[Path, dict, list[str]] | None:
    """The newest undamaged resume state.

    Args:
        stage: only of this stage.

    Returns:
        (directory, manifest, a line for every newer state that is damaged), or None.
    """
    damaged = []
    for path, manifest in reversed(complete_states(folder)):
        if stage is not None and manifest["stage"] != stage:
            continue
        wrong = [name for name in TENSORS if not _intact(path / name, manifest["checksums"][name])]
        if not wrong:
            return path, manifest, damaged
        damaged.append(f"{path}: {', '.join(wrong)} damaged; the state is passed by")
    return None


def drop_states_after(accelerator: Accelerator, folder: Path, serial: int) -> None:
    """Remove the states that came after one that the run has gone back to."""
    if accelerator.is_main_process:
        for path, manifest in complete_states(folder):
            if manifest["serial"] > serial:
                _remove(path)
    accelerator.wait_for_everyone()


def export(accelerator: Accelerator, model, processor, target: Path, manifest: dict, recipe_yaml: str) -> None:
    """Write the whole model, the processor, the recipe and the manifest as a directory for ``from_pretrained``."""
    weights = accelerator.get_state_dict(model)  # gathers the shards of ZeRO-3: every process takes part
    with new_directory(accelerator, target) as partial:
        if accelerator.is_main_process:
            accelerator.unwrap_model(model).save_pretrained(partial, state_dict=weights)
            processor.save_pretrained(partial)
            (partial / "recipe.yaml").write_text(recipe_yaml, encoding="utf-8")
            (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def checksum(path: Path) -> str:
    """BLAKE2b of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _superfluous(states: list[tuple[Path, dict]], run: RunConfig) -> list[Path]:
    """The states that retention lets go."""
    kept = {path for path, _ in states[-run.keep_states :]}
    if run.keep_every is not None:
        kept |= {path for path, manifest in states if manifest["step"] % run.keep_every == 0}
    if run.keep_best and states:
        stage = states[-1][1]["stage"]  # losses of different stages are not comparable
        rated = [entry for entry in states if entry[1]["stage"] == stage and entry[1].get("loss") is not None]
        kept |= {path for path, _ in sorted(rated, key=lambda entry: entry[1]["loss"])[:1]}
    return [path for path, _ in states if path not in kept]


def _same(read: dict[str, torch.Tensor], written: dict[str, torch.Tensor], path: Path) -> None:
    wrong = [name for name in written if name not in read or not _equal_bits(read[name], written[name])]
    if wrong or len(read) != len(written):
        raise OSError(f"{path.name} reads back differently, e.g. {wrong[0] if wrong else 'in its number of tensors'}")


def _equal_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.view(torch.int32), other.view(torch.int32))


def _intact(path: Path, expected: str) -> bool:
    return path.is_file() and checksum(path) == expected


def _onto_disk(directory: Path) -> None:
    """Flush files and directory entries, so that a name never comes to lie before what it names (power failure)."""
    for path in (*directory.rglob("*"), directory):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(partial: Path, target: Path) -> None:
    if target.exists():
        _remove(target)
    os.replace(partial, target)
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Take a directory away in one step first: half of it must not look whole."""
    going = path.with_name(f".{path.name}.going")
    shutil.rmtree(going, ignore_errors=True)
    os.replace(path, going)
    shutil.rmtree(going)
