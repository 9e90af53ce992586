"""RSIEval: ``annotations.json`` of ``{"annotations": [{"filename", "caption", "qa_pairs": [{"question", "answer",
"type"}]}]}``, as public code reads it. The unit is the image for captions, the question for questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, load_json, suggest
from skyeye.data.formats.base.rows import Row, records_of, text_in
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError

TASKS = ("caption", "vqa")
CAPTION_PROMPT = "Please provide a detailed description of the picture."


def read(
    path: str | Path, images: ImageLookup = BESIDE, split: str | None = None, *, task: str = "vqa"
) -> Iterator[Record | Problem]:
    """Records of the file.

    Args:
        path: the file.
        images: folder of the images; default: beside and below the file.
        split: everything is ``test``.
        task: ``caption`` or ``vqa``.
    """
    path = Path(path)
    if task not in TASKS:
        raise SkyEyeError(f"unknown task {task!r}", where="options.task", remedy=suggest(task, list(TASKS)))
    data = load_json(path, dict).get("annotations")
    if not isinstance(data, list):
        raise SkyEyeError("has no list `annotations`", where=str(path), remedy="check `format:` of this source")
    if split in (None, "test"):
        rows = [*_rows(data, str(path), task)]
        yield from records_of(rows, partial(_record, task=task, folder=images.folder(path.parent)))


def _rows(data: list[Any], file: str, task: str) -> Iterator[tuple[str, Any]]:
    for number, image in enumerate(data):
        pairs = image.get("qa_pairs") if isinstance(image, dict) else None
        if task == "caption" or not isinstance(image, dict):
            yield f"{file}, image {number}", image
        elif not isinstance(pairs, list):
            yield f"{file}, image {number}", {"filename": image.get("filename")}
        else:
            for index, pair in enumerate(pairs):
                row = {**pair, "filename": image.get("filename")} if isinstance(pair, dict) else pair
                yield f"{file}, image {number}, question {index}", row


def _record(row: Row, where: str, number: int, task: str, folder: ImageFolder) -> Record:
    name = row.get("filename")
    if not isinstance(name, str):
        raise BadRecord("no image", where, "filename is missing")
    if task == "caption":
        said = text_in(row, where, "no answer", "caption")
        turn = Turn(CAPTION_PROMPT, said, task)
        references: dict[str, Any] = {"captions": [said]}
        id = name
    else:
        answer = text_in(row, where, "no answer", "answer")
        turn = Turn(text_in(row, where, "no question", "question"), answer, task)
        references = {"answer": answer}
        if row.get("type") is not None:
            references["type"] = str(row["type"])
        id = f"rsieval:{number}"
    return Record(id, "RSIEval", task, "test", (folder.find(name, where),), (turn,), references, (), where)
