"""Synthetic scenes (``skyeye data synth``, docs/synthetic_scenes.md): its published tree and its known objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, load_json, read_text
from skyeye.data.formats.instructions.llava import parse_llava
from skyeye.data.formats.instructions.skyeye968k import split_of
from skyeye.data.record import Record, Region
from skyeye.data.tasks import TASKS, check_task
from skyeye.errors import SkyEyeError

SOURCE = "Synthetic"
REGIONS = "regions.jsonl"


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    max_objects: int | None = None,
    tasks: Sequence[str] | None = None,
) -> Iterator[Record | Problem]:
    """Records of synthetic scenes.

    A single-image record carries ``regions``: first the whole picture with the word for its ground, then every object.
    Held-out records carry the ``references`` that score their answer.

    Args:
        path: folder of the scenes.
        images: folder of its pictures; default ``path/images``.
        split: ``"train"`` (also when None: held-out scenes must be asked for) or ``"test"``.
        max_objects: leave out pictures with more objects than this (a curriculum).
        tasks: keep these tasks only, e.g. ``["refer", "vqa"]``.
    """
    path, split = Path(path), split or "train"
    for task in tasks or ():
        check_task(task, "options.tasks")
    files = [file for file in sorted(path.glob("*/*.json")) if split_of(file) == split]
    if not files:
        raise SkyEyeError(
            f"holds no {split} files of synthetic scenes", where=str(path), remedy="write one: skyeye data synth OUT"
        )
    regions = _regions(path / REGIONS)
    folder = images.folder(path / "images")
    found: dict[str, str] = {}  # thirty records ask about the same picture

    def find(name: str, where: str) -> str:
        if name not in found:
            found[name] = folder.find(name, where)
        return found[name]

    for file in files:
        for index, item in enumerate(load_json(file, list)):
            where = f"{file}, record {index}"
            try:
                if _wanted(item, max_objects, tasks, where):
                    yield _record(item, where, split, find, regions)
            except BadRecord as error:
                yield error.problem()


def _wanted(item: Any, max_objects: int | None, tasks: Sequence[str] | None, where: str) -> bool:
    known = isinstance(item, dict) and isinstance(item.get("objects"), int) and isinstance(item.get("task"), str)
    if not known or item["task"] not in TASKS:
        raise BadRecord("not a record", where, "is no record of synthetic scenes (objects, task): " + str(item)[:60])
    return (max_objects is None or item["objects"] <= max_objects) and (tasks is None or item["task"] in tasks)


def _record(item: dict[str, Any], where: str, split: str, find: Any, regions: dict[str, tuple[Region, ...]]) -> Record:
    id = str(item.get("id", where))
    record = parse_llava(item, where, id=id, source=SOURCE, split=split, find_image=find, strict_tags=True)
    references = item.get("references", record.references)
    if not isinstance(references, dict):
        raise BadRecord("not a record", where, f"has references that are no object: {str(references)[:60]}")
    if "type" in item:
        references = references | {"type": item["type"]}
    known = regions.get(item["image"], ()) if isinstance(item["image"], str) else ()
    task = item["task"]
    turns = record.turns if len(record.turns) > 1 else (replace(record.turns[0], task=task),)
    return replace(record, task=task, turns=turns, references=references, regions=known)


def _regions(path: Path) -> dict[str, tuple[Region, ...]]:
    """Image name -> ground and objects."""
    known = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            entry = json.loads(line)
            objects = [Region(tuple(thing["box"]), thing["phrase"]) for thing in entry["objects"]]
            known[entry["image"]] = (Region((0.0, 0.0, 1.0, 1.0), entry["ground"]), *objects)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SkyEyeError(
                "is no entry {image, ground, objects}", where=f"{path}, line {number}", remedy="draw the scenes again"
            ) from error
    return known
