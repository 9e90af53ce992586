"""Resume states of a run, as directories that explain themselves: ``states/<stage>-<step>/`` holds what a run needs to
go on.

A state says the same whatever strategy wrote it, so that any other can go on with it: ``parameters.safetensors`` and
``moments.safetensors`` hold float32 tensors by parameter name (:mod:`skyeye.train.checkpoint.snapshot`),
``manifest.json`` the rest, with the checksum of both files.
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
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from skyeye.config.schema import RunConfig
from skyeye.data.files import flush_to_disk
from skyeye.errors import SkyEyeError
from skyeye.models.objective import moving_statistics, trained_parameters
from skyeye.models.weights import equal_bits
from skyeye.train.checkpoint.snapshot import collect, restore_state
from skyeye.train.context import Prepared
from skyeye.train.parallel.loss_scale import loss_scaler

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


def save_state(prepared: Prepared, folder: Path, manifest: dict, run: RunConfig) -> Path:
    """Save what the run needs to go on after ``manifest['step']`` steps of stage ``manifest['stage']``.

    The moving average, where the stage keeps one, lies beside the moments as ``name/average``. All is read back and
    compared with what was to be written before any older state goes.

    Args:
        manifest: goes into ``manifest.json``; ``loss`` in it chooses the best state.
        run: how many states are kept.

    Raises:
        SkyEyeError: it could not be written, or is not what was written; older states stay.
    """
    target = folder / "states" / f"{manifest['stage']}-{manifest['step']:07d}"
    accelerator, optimizer = prepared.accelerator, prepared.optimizer
    parameters, moments, steps = collect(prepared)
    averages = {} if prepared.average is None else prepared.average.state_dict()
    moments |= {f"{name}/average": tensor for name, tensor in averages.items()}
    with new_directory(accelerator, target) as partial:
        if accelerator.is_main_process:
            for name, tensors in zip(TENSORS, (parameters, moments), strict=True):
                save_file(tensors, partial / name)
                _compare(partial / name, tensors)
            serial = 1 + max([state["serial"] for _, state in complete_states(folder)], default=0)
            scaler = loss_scaler(accelerator, optimizer)
            written = {
                **manifest,
                "serial": serial,
                "optimizer_steps": steps,
                "scaler": None if scaler is None else scaler.state_dict(),
                "checksums": {name: blake2b_of(partial / name) for name in TENSORS},
            }
            (partial / "manifest.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
    if accelerator.is_main_process:
        for old in _superfluous(complete_states(folder), run):
            try:
                _remove(old)
            except OSError as error:  # the run needs it no longer, and what it needs is written
                print(f"{old} is superfluous and could not be removed: {error}", flush=True)
    return target


def load_state(prepared: Prepared, state: Path) -> dict:
    """Load what :func:`save_state` wrote into a prepared objective and optimiser, of this strategy or another.

    Returns:
        Its manifest.

    Raises:
        SkyEyeError: the trained parameters are not those of the recipe.
    """
    manifest = json.loads((state / "manifest.json").read_text(encoding="utf-8"))
    parameters, moments = (load_file(state / name) for name in TENSORS)
    objective = prepared.plain_objective
    expected = {name for named in (trained_parameters, moving_statistics) for name, _ in named(objective)}
    if parameters.keys() != expected:
        odd = sorted(parameters.keys() ^ expected)
        raise SkyEyeError(
            f"{len(odd)} trained parameters differ between the state and the recipe, e.g. {odd[0]}",
            where=str(state),
            remedy="resume with the recipe that the run folder holds",
        )
    restore_state(prepared, parameters, moments, manifest["optimizer_steps"])
    if prepared.average is not None:
        averages = {name: tensor for name, tensor in moments.items() if name.endswith("/average")}
        prepared.average.load_state_dict({name.removesuffix("/average"): tensor for name, tensor in averages.items()})
    scaler = loss_scaler(prepared.accelerator, prepared.optimizer)
    if scaler is not None and manifest["scaler"] is not None:
        scaler.load_state_dict(manifest["scaler"])
    return manifest


def complete_states(folder: Path) -> list[tuple[Path, dict]]:
    """Resume states of a run folder with their manifests, oldest first; damaged manifests are no states."""
    found = [(path, _manifest(path)) for path in state_folders(folder)]
    return sorted(((path, kept) for path, kept in found if kept is not None), key=lambda entry: entry[1]["serial"])


def state_folders(folder: Path) -> list[Path]:
    """What has the name of a resume state, damaged ones included, in the order of their names."""
    return sorted(path for path in (folder / "states").glob("[!.]*-*") if path.is_dir())


def find_corruption(state: Path) -> str | None:
    """What is wrong with a resume state: its manifest is compared with what one says, its tensors with their checksums;
    None: nothing."""
    manifest = _manifest(state)
    if manifest is None:
        return f"{state}: manifest.json damaged"
    wrong = [name for name in TENSORS if not _intact(state / name, manifest["checksums"][name])]
    return f"{state}: {', '.join(wrong)} damaged" if wrong else None


def latest_state(folder: Path, stage: str) -> tuple[Path, dict, list[str]] | None:
    """The newest undamaged resume state of a stage.

    Returns:
        (directory, manifest, a line for every newer state that is damaged), or None: there has been none yet.

    Raises:
        SkyEyeError: there are states, and all of them are damaged.
    """
    states = [path for path, manifest in complete_states(folder) if manifest["stage"] == stage]
    named = [path for path in state_folders(folder) if path.name.rpartition("-")[0] == stage]
    damaged = []
    for path in [*(path for path in reversed(named) if path not in states), *reversed(states)]:
        wrong = find_corruption(path)
        if wrong is None:
            newer = [f"{line}; the state is skipped" for other, line in damaged if other.name > path.name]
            return path, _manifest(path), newer
        damaged.append((path, wrong))
    if damaged:
        raise SkyEyeError(
            f"no state of stage {stage} is whole: {'; '.join(line for _, line in damaged)}",
            where=str(folder / "states"),
            remedy=f"put one of them back from a copy, or remove them all (states/{stage}-*) to begin the stage anew",
        )
    return None


def drop_states_after(accelerator: Accelerator, folder: Path, serial: int) -> None:
    """Remove the states that came after one that the run has gone back to."""
    if accelerator.is_main_process:
        for path, manifest in complete_states(folder):
            if manifest["serial"] > serial:
                _remove(path)
    accelerator.wait_for_everyone()


def blake2b_of(path: Path) -> str:
    """BLAKE2b of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _superfluous(states: list[tuple[Path, dict]], run: RunConfig) -> list[Path]:
    """The states that retention lets go."""
    kept = {path for path, _ in states[-run.keep_states :]}
    # one that a signal had saved amid held back updates is nothing to go back to
    kept |= {path for path, _ in [entry for entry in states if not entry[1]["guard"]["streak"]][-1:]}
    if run.keep_every is not None:
        kept |= {path for path, manifest in states if manifest["step"] % run.keep_every == 0}
    if run.keep_best and states:
        stage = states[-1][1]["stage"]  # losses of different stages are not comparable
        rated = [entry for entry in states if entry[1]["stage"] == stage and entry[1].get("loss") is not None]
        kept |= {path for path, _ in sorted(rated, key=lambda entry: entry[1]["loss"])[:1]}
    return [path for path, _ in states if path not in kept]


def _compare(path: Path, written: dict[str, torch.Tensor]) -> None:
    """A file with what it was written from, tensor by tensor: no second copy of all of them comes into memory."""
    with safe_open(path, "pt") as file:
        stored = set(file.keys())
        wrong = [n for n, tensor in written.items() if n not in stored or not equal_bits(file.get_tensor(n), tensor)]
    if wrong or len(stored) != len(written):
        raise OSError(f"{path.name} reads back differently, e.g. {wrong[0] if wrong else 'in its number of tensors'}")


def _manifest(state: Path) -> dict | None:
    """``manifest.json`` of a state; None where it is not what :func:`save_state` writes."""
    try:
        manifest = json.loads((state / "manifest.json").read_text(encoding="utf-8"))
        whole = {"optimizer_steps", "scaler"} <= manifest.keys() and {"streak"} <= manifest["guard"].keys()
        whole = whole and set(TENSORS) <= manifest["checksums"].keys() and isinstance(manifest["stage"], str)
        whole = whole and isinstance(manifest["step"], int) and isinstance(manifest["serial"], int)
    except (OSError, ValueError, LookupError, AttributeError):
        return None
    return manifest if whole else None


def _intact(path: Path, expected: str) -> bool:
    return path.is_file() and blake2b_of(path) == expected


def _onto_disk(directory: Path) -> None:
    """Flush files and directory entries, so that a name never comes to lie before what it names (power failure)."""
    for path in (*directory.rglob("*"), directory):
        flush_to_disk(path)


def _replace(partial: Path, target: Path) -> None:
    """Give a directory its name. One that has it already is whole under another until then: see clear_leftovers."""
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
    try:
        os.replace(partial, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise
    flush_to_disk(target.parent)
    _delete(old)


def _remove(path: Path) -> None:
    """Take a directory away in one step first: half of it must not look whole."""
    going = path.with_name(f".{path.name}.going")
    _delete(going)
    os.replace(path, going)
    _delete(going)


def _delete(hidden: Path) -> None:
    """Delete a directory that no one reads any more; where that fails it is told, and done when a run goes on."""
    try:
        shutil.rmtree(hidden)
    except FileNotFoundError:
        return
    except OSError as error:
        print(f"{hidden} could not be removed: {error}", flush=True)


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed run left half written or half removed in a run folder; an export or state that was to be
    replaced and was not gets its name back. To be called by the one process that writes."""
    for place in (folder / "states", folder / "checkpoints"):
        for old in place.glob(".*.old"):
            target = old.with_name(old.name.removeprefix(".").removesuffix(".old"))
            if not target.exists():
                os.replace(old, target)
        for pattern in (".*.old", ".*.going", ".*.partial"):
            for left in place.glob(pattern):
                _delete(left)
