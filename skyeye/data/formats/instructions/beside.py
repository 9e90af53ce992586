"""What a record holds and no instruction layout has a place for, as text in a column of its own beside the messages.

``skyeye data convert`` writes it, trainers elsewhere pass over it. It is JSON as text in one column, because the table
readers of the field want a column to have one type in every row.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.record import Record, Region
from skyeye.data.tasks import TASKS

COLUMN = "skyeye"
_TEXTS = ("id", "source", "task")


def beside(record: Record, plain: Record) -> str:
    """The column of a record: where it differs from ``plain``, as which a reader without the column takes it."""
    differing: dict[str, Any] = {
        key: getattr(record, key) for key in (*_TEXTS, "references") if getattr(record, key) != getattr(plain, key)
    }
    tasks = [turn.task for turn in record.turns]
    if tasks != [turn.task for turn in plain.turns]:
        differing["tasks"] = tasks
    if record.regions != plain.regions:
        differing["regions"] = [asdict(region) for region in record.regions]
    return json.dumps(differing, ensure_ascii=False)


def with_beside(record: Record, column: Any, where: str) -> Record:
    """The record with what its column says; of a conversation that has other turns by now, not their tasks.

    Raises:
        BadRecord: the column is not what :func:`beside` writes.
    """
    try:
        said = json.loads(column)
        changed: dict[str, Any] = {key: said[key] for key in (*_TEXTS, "references") if key in said}
        tasks = said.get("tasks", [])
        regions = [_region(one) for one in said.get("regions", [])]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadRecord("wrong value", where, f"column {COLUMN} is not what `data convert` wrote") from error
    if not _is_sound(changed, tasks):
        raise BadRecord("wrong value", where, f"column {COLUMN} is not what `data convert` wrote")
    if len(tasks) == len(record.turns):
        changed["turns"] = tuple(replace(turn, task=task) for turn, task in zip(record.turns, tasks, strict=True))
    if "regions" in said:
        changed["regions"] = tuple(regions)
    return replace(record, **changed)


def _region(one: Any) -> Region:
    """A region as ``asdict`` writes it.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    box, polygon = [float(number) for number in one["box"]], one["polygon"]
    corners = None if polygon is None else tuple(float(number) for number in polygon)
    if len(box) != 4 or (corners is not None and len(corners) != 8) or not isinstance(one["phrase"], str):
        raise ValueError("no region")
    x1, y1, x2, y2 = box
    return Region((x1, y1, x2, y2), one["phrase"], corners)


def _is_sound(changed: dict[str, Any], tasks: Any) -> bool:
    texts = all(isinstance(changed.get(key, ""), str) for key in _TEXTS)
    known = isinstance(tasks, list) and all(task in list(TASKS) for task in [*tasks, changed.get("task", "vqa")])
    return texts and known and isinstance(changed.get("references", {}), dict)
