"""What --resume accepts, and what it does to the log of the run it goes on with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from skyeye.config.load import load_recipe, recipe_to_yaml
from skyeye.data.files import write_whole
from skyeye.errors import SkyEyeError

#: Settings that may differ when a run goes on: how it is carried out, not what is computed.
MAY_CHANGE = re.compile(r"run\.(?!precision$|frozen$).*|stages\.[^.]+\.accumulation|eval(\..*)?|name|output_dir")


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
    return [f"{key}: {values}" for key, values in changed.items()]


def trim_log(folder: Path, stage: str, step: int) -> None:
    """Take the steps of a stage behind the ``step``-th out of log.jsonl: they will be computed again. A line that
    a crash cut off goes, too."""
    path = folder / "log.jsonl"
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # only the last line can be cut off, and it belongs to a step that is computed again
        if entry["stage"] != stage or entry["step"] <= step:
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
