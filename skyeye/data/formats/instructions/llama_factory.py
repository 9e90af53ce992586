"""Data sets of LLaMA-Factory: what its ``dataset_info.json`` names, with the columns and tags that stand there.

``sharegpt`` (messages) and ``alpaca`` (``instruction``, ``input``, ``output``, ``history``) are read. Boxes are those
of the texts, as in :mod:`skyeye.data.formats.instructions.dialects`. The unit is the record, and a data set that is
passed over (on a hub, of preferences, without its file).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, load_json
from skyeye.data.formats.base.splits import split_in
from skyeye.data.formats.instructions.dialects import check_options, items_of, records_of
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

FILE = "dataset_info.json"
_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "system_tag": "system",
}


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    source: str | None = None,
    task: str | None = None,
    boxes: str = "auto",
    strict_tags: bool = False,
) -> Iterator[Record | Problem]:
    """Records of every data set that has its file beside ``dataset_info.json``.

    Args:
        path: that file, or its folder.
        images: folder of the images (``media_dir``); default: beside the file.
        split: keep only this split; train, val or test in the name of the data set or of its file, else train.
        source, task, boxes, strict_tags: as :func:`skyeye.data.formats.instructions.dialects.read` takes them.
    """
    path = Path(path)
    info = path / FILE if path.is_dir() else path
    check_options(task, boxes)
    folder = images.folder(info.parent)
    for name, entry in load_json(info, dict).items():
        try:
            file = _file(entry, info, name)
        except BadRecord as error:
            yield Problem(error.kind, f"{info}, {name}", error.what, by_rule=error.kind == "other data set")
            continue
        of = split_in(file.stem) or split_in(name) or "train"
        if split is None or of == split:
            items = ((where, _as_llava(item, entry)) for where, item in items_of(file))
            about: dict[str, Any] = {"source": source or "", "split": of, "task": task, "strict_tags": strict_tags}
            yield from records_of(items, file.stem, boxes, folder.find, **about)


def files_of(info: Path) -> list[Path]:
    """The files that a ``dataset_info.json`` names; none where it is no such file."""
    try:
        entries = load_json(info, dict).values()
    except SkyEyeError:
        return []
    named = [entry.get("file_name") for entry in entries if isinstance(entry, dict)]
    return [info.parent / name for name in named if isinstance(name, str)]


def _file(entry: Any, info: Path, name: str) -> Path:
    """The file of a data set.

    Raises:
        BadRecord: it has none, or is no data set of questions and answers.
    """
    where = f"{info}, {name}"
    if not isinstance(entry, dict):
        raise BadRecord("not a record", where, f"is not an object {{...}} but {str(entry)[:60]!r}")
    if entry.get("ranking") or not isinstance(entry.get("file_name"), str):
        raise BadRecord("other data set", where, "is of preferences, or has no file_name here")
    if entry.get("formatting", "alpaca") not in ("alpaca", "sharegpt"):
        raise BadRecord("other data set", where, f"has the formatting {str(entry['formatting'])[:30]!r}")
    for key in ("columns", "tags"):
        named = entry.get(key) or {}
        if not isinstance(named, dict) or not all(isinstance(value, str) for value in named.values()):
            raise BadRecord("wrong value", where, f"{key} is not an object of names: {str(named)[:60]!r}")
    file = info.parent / entry["file_name"]
    if file.parent != info.parent or not os.path.isfile(file):
        raise BadRecord("missing file", where, f"its file {entry['file_name'][:60]!r} is not beside {FILE}")
    return file


def _as_llava(item: Any, entry: dict[str, Any]) -> Any:
    """A row with ``images``, ``system`` and ``conversations`` under these names."""
    if not isinstance(item, dict):
        return item
    columns = entry.get("columns") or {}
    named = {key: item.get(columns[key]) for key in ("images", "system") if columns.get(key) in item}
    if entry.get("formatting", "alpaca") == "alpaca":
        return {**item, **named, "conversations": _alpaca(item, columns)}
    messages = item.get(columns.get("messages", "conversations"))
    if isinstance(messages, list):
        tags = {**_TAGS, **(entry.get("tags") or {})}
        messages = [_message(message, tags) for message in messages]
    return {**item, **named, "conversations": messages}


def _message(message: Any, tags: dict[str, str]) -> Any:
    if not isinstance(message, dict):
        return message
    role = message.get(tags["role_tag"])
    roles = {"user_tag": "human", "assistant_tag": "gpt", "system_tag": "system"}
    known = {tags[tag]: ours for tag, ours in roles.items()}
    return {"from": known.get(role, role) if isinstance(role, str) else role, "value": message.get(tags["content_tag"])}


def _alpaca(item: dict[str, Any], columns: dict[str, str]) -> list[dict[str, Any]]:
    def of(key: str, default: str) -> Any:
        return item.get(columns.get(key, default))

    asked, more = of("prompt", "instruction"), of("query", "input")
    if isinstance(asked, str) and isinstance(more, str) and more:
        asked = f"{asked}\n{more}"
    history = item.get(columns["history"]) if columns.get("history") else None
    before = history if isinstance(history, list) else []
    turns = [pair if isinstance(pair, list) and len(pair) == 2 else [None, None] for pair in before]
    messages = []
    for question, answer in [*turns, [asked, of("response", "output")]]:
        messages += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return messages
