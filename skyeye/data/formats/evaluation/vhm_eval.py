"""The evaluation set of VHM (H2RSVLM): a JSON list a task of ``{"image", "image_path", "conversations"}``, where
``image_path`` is the folder of the image. The unit is the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem
from skyeye.data.formats.base.rows import Row, records_of, rows_of
from skyeye.data.formats.instructions.llava import image_names
from skyeye.data.formats.instructions.messages import read_messages
from skyeye.data.record import Record, Turn
from skyeye.data.tasks import check_task

_CLASSES = re.compile(r"classes\s*:\s*(.+?)(?:\.\s|\.$|\n|$)", re.IGNORECASE | re.DOTALL)
_OPTION = re.compile(r"(?:^|[\s;,])\(?([A-F])[).:]\s*(?=\S)")


def read(
    path: str | Path, images: ImageLookup = BESIDE, split: str | None = None, *, task: str = "vqa"
) -> Iterator[Record | Problem]:
    """Records of one file.

    Args:
        path: the file.
        images: folder of the image folders; default: beside the file.
        split: everything is ``test``.
        task: what its questions ask.
    """
    path = Path(path)
    check_task(task, "options.task")
    if split in (None, "test"):
        parse = partial(_record, stem=path.stem, task=task, folder=images.folder(path.parent))
        yield from records_of(rows_of(path), parse)


def _record(row: Row, where: str, number: int, stem: str, task: str, folder: ImageFolder) -> Record:
    names = image_names(row, where)
    if len(names) != 1:
        raise BadRecord("no image", where, f"names {len(names)} images")
    place = row.get("image_path")
    name = f"{place}/{names[0].removeprefix(f'{place}/')}" if isinstance(place, str) and place else names[0]
    turns = read_messages(row, 1, where).turns
    if len(turns) != 1:
        raise BadRecord("wrong turn", where, f"has {len(turns)} questions")
    ((question, answer),) = turns
    references: dict[str, Any] = {"answer": answer}
    if task == "classification" and (named := _CLASSES.search(question)):
        references["classes"] = [one.strip() for one in named[1].split(",") if one.strip()]
    letters = sorted(set(_OPTION.findall(question)))
    if len(letters) > 1:
        references["letters"] = len(letters)
    image = (folder.find(name, where),)
    return Record(f"{stem}:{number}", stem, task, "test", image, (Turn(question, answer, task),), references, (), where)
