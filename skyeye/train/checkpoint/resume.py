"""What --resume accepts, and what it does to the logs of the run it goes on with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from skyeye.config.load import load_recipe, recipe_to_yaml
from skyeye.data.files import write_whole
from skyeye.errors import SkyEyeError
from skyeye.launch import rank
from skyeye.train.checkpoint.ingredients import changed
from skyeye.train.checkpoint.state import clear_leftovers, latest_state, state_folders
from skyeye.train.parallel.distributed import print_once

#: Settings that may differ when a run goes on: how it is carried out, not what is computed.
MAY_CHANGE = re.compile(r"run\.(?!precision$|frozen$).*|stages\.[^.]+\.accumulation|eval(\..*)?|name|output_dir")


@dataclass(frozen=True)
class Position:
    """Where a run begins: the number of the stage, and in it the state to load (None: none) and its finished steps."""

    stage: int
    state: Path | None = None
    step: int = 0


def find_position(folder: Path, stages: Sequence[str], resume: bool) -> Position:
    """Where a run of these stages begins; that of a finished run is behind its last stage.

    What a killed run left half written is removed, by process 0.

    Raises:
        SkyEyeError: the folder holds a run that is not to be resumed, or its states are all damaged.
    """
    if not resume and (_finished(folder, stages) or state_folders(folder)):
        raise SkyEyeError(
            "the folder already holds a run",
            where=str(folder),
            remedy="add --resume to go on with it, or choose another folder: run.dir=...",
        )
    if rank() == 0:
        clear_leftovers(folder)
    first = _finished(folder, stages) if resume else 0
    if not resume or first == len(stages):
        return Position(first)
    found = latest_state(folder, stages[first])
    for line in found[2] if found else []:
        print_once(line)
    if found:
        print_once(f"going on after step {found[1]['step']} of stage {stages[first]}")
        return Position(first, found[0], found[1]["step"])
    print_once(f"there is no state of stage {stages[first]} yet: it starts afresh")
    return Position(first)


def _finished(folder: Path, stages: Sequence[str]) -> int:
    """How many stages have their export."""
    return sum((folder / "checkpoints" / name / "manifest.json").is_file() for name in stages)


def changed_settings(kept: Path, recipe_yaml: str) -> list[str]:
    """``key: before -> now`` for the settings that differ from those a run was started with.

    Args:
        kept: recipe.yaml of the run folder. Settings it does not know have their defaults.
        recipe_yaml: the recipe to go on with.

    Raises:
        SkyEyeError: one of them decides what is computed; it is named.
    """
    before, now = (_flat(yaml.safe_load(text)) for text in (recipe_to_yaml(load_recipe(kept)), recipe_yaml))
    changed = {key: f"{before.get(key)} -> {now.get(key)}" for key in before | now if before.get(key) != now.get(key)}
    refused = [f"{key}: {values}" for key, values in changed.items() if not MAY_CHANGE.fullmatch(key)]
    if refused:
        raise SkyEyeError(
            f"the recipe is not the one this run was started with: {'; '.join(refused)}",
            where=str(kept.parent),
            remedy=f"resume with {kept}, or start a new run in another output_dir",
        )
    if "run.tokens_per_pack" in changed:  # the one of them that can change what is learnt from
        changed["run.tokens_per_pack"] += " (from here on, other samples may be skipped as longer than a pack)"
    return [f"{key}: {values}" for key, values in changed.items()]


def changed_data(folder: Path, manifest: Mapping[str, Any], state: Path | None, exported: Path | None) -> list[str]:
    """Refuse to go on with other data or other parts of the model than what the run has seen so far.

    Args:
        folder: run folder; its environment.json is asked where there is neither state nor export.
        manifest: what the run at hand says of its data, parts and libraries
            (:attr:`skyeye.train.setup.RunSetup.manifest`).
        state, exported: what the run would go on from.

    Returns:
        ``library: before -> now`` for the libraries that have another version.

    Raises:
        SkyEyeError: a source, or a file that the model is built from, is not what it was; each is named with what
            changed. Or what it was cannot be read.
    """
    files = [part / "manifest.json" for part in (state, exported) if part is not None] + [folder / "environment.json"]
    kept = next((file for file in files if file.is_file()), None)
    if kept is None:
        return []  # killed before it wrote anything
    try:
        said = json.loads(kept.read_text(encoding="utf-8"))
        before, parts, versions = dict(said["sources"]), dict(said.get("parts", {})), dict(said.get("versions", {}))
    except (ValueError, LookupError, TypeError) as error:
        raise SkyEyeError(
            f"does not say which data the run was started with: {type(error).__name__}: {error}",
            where=str(kept),
            remedy="put it back from a copy, or start a new run in another output_dir",
        ) from error
    lines = _changed_sources(before, manifest["sources"])
    if exported is None:  # else the whole model comes from there
        lines += changed(parts, manifest["parts"], "the content of ")
    if lines:
        raise SkyEyeError(
            f"the data is not what this run was started with: {'; '.join(lines)}",
            where=str(kept),
            remedy="put the same data back, or start a new run in another output_dir",
        )
    return changed(versions, manifest["versions"], "version of ")


def _changed_sources(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in sorted(before.keys() | now.keys()):
        one, other = before.get(name, {}), now.get(name, {})
        odd = [key for key in ("records", "groups", "fingerprint") if one.get(key) != other.get(key)]
        changes = [f"{key} {one.get(key)} -> {other.get(key)}" for key in odd]
        if not changes and changed({"contents": one.get("contents")}, other, ""):
            changes.append("pictures of other sizes, or other regions")
        if changes:
            lines.append(f"source {name}: {', '.join(changes)}")
    return lines


def trim_logs(folder: Path, stage: str, step: int) -> None:
    """Let a run's log, events and scores end with the ``step``-th step of a stage: what follows is done again."""
    for path in (folder / "log.jsonl", folder / "events.jsonl", folder / "eval" / f"{stage}.jsonl"):
        trim_log(path, stage, step)


def clear_logs(folder: Path) -> None:
    """Remove log, events and scores of a run that was killed before anything could go on from it."""
    for path in (folder / "log.jsonl", folder / "events.jsonl", *(folder / "eval").glob("*.jsonl")):
        path.unlink(missing_ok=True)


def trim_log(path: Path, stage: str, step: int) -> None:
    """Take the steps of a stage behind the ``step``-th out of a file of JSON lines: they will be computed again. A line
    that a crash cut off goes, too."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # only the last line can be cut off, and it belongs to a step that is computed again
        if entry.get("stage") != stage or entry.get("step", 0) <= step:
            kept.append(f"{line}\n")
    write_whole(path, kept)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested settings as ``section.key`` -> value; a list entry that has a name goes by it."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        items = [(entry.get("name", number), entry) for number, entry in enumerate(value)]
    else:
        return {path: value}
    flat: dict[str, Any] = {}
    for key, entry in items:
        flat |= _flat(entry, f"{path}.{key}" if path else str(key))
    return flat
