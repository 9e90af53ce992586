"""Paths of this machine in the files of an export: they mean nothing elsewhere, and tell who wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from skyeye.data.files import write_whole

#: Files of an export that name other files. Vocabularies and templates hold texts that only look like paths.
FILES = (
    "config.json",
    "base.json",
    "adapter_config.json",
    "manifest.json",
    "processor_config.json",
    "preprocessor_config.json",
    "generation_config.json",
    "recipe.yaml",
)
_MACHINE = re.compile(r"(/|~|[A-Za-z]:[\\/]|\\\\|file://)[\w.~\\/].*")


def is_machine_path(text: str) -> bool:
    """Whether a text is a path that holds on one machine only."""
    return bool(_MACHINE.fullmatch(text))


def machine_paths(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(file, key, path) of every path of one machine in the files of a folder that name others."""
    for name in FILES:
        if (folder / name).is_file():
            found: list[tuple[str, str]] = []
            _walk(_read(folder / name), "", found)
            yield from ((name, key, path) for key, path in found)


def take_machine_paths_out(folder: Path) -> list[tuple[str, str, str]]:
    """Leave the last name of every such path; ``base.json`` keeps the fingerprint, which tells the part.

    Returns:
        What was found, as :func:`machine_paths` gives it.
    """
    found = list(machine_paths(folder))
    for name in {name for name, _, _ in found}:
        content = _walk(_read(folder / name), "", [])
        if name.endswith(".yaml"):
            write_whole(folder / name, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        else:
            write_whole(folder / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return found


def last_name(text: str) -> str:
    """The last part of a path of any system."""
    return re.split(r"[\\/]", text.rstrip("\\/"))[-1]


def _read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)


def _walk(value: Any, key: str, found: list[tuple[str, str]]) -> Any:
    """The same content with paths shortened; (key, path) of each goes into ``found``."""
    if isinstance(value, dict):
        return {name: _walk(each, f"{key}.{name}".lstrip("."), found) for name, each in value.items()}
    if isinstance(value, list):
        return [_walk(each, f"{key}.{number}".lstrip("."), found) for number, each in enumerate(value)]
    if isinstance(value, str) and is_machine_path(value):
        found.append((key, value))
        return last_name(value)
    return value
