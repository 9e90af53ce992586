"""VRSBench: the three files that it is scored with, ``VRSBench_EVAL_{Cap,referring,vqa}.json``.

Rows, as public code reads them: ``image_id``, ``question``, ``ground_truth``, ``question_id``; of questions also
``type``, of referring expressions ``is_unique`` (the only object of its class in the image). Boxes are hundredths. The
unit is the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, suggest
from skyeye.data.formats.base.rows import Row, records_of, rows_of, text_in
from skyeye.data.formats.detection.base import REFER_PROMPTS
from skyeye.data.formats.instructions.llava import read_turn
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError

#: Words of its own types -> the names in its table, which others use.
_TYPES = {
    "category": "category",
    "existence": "presence",
    "presence": "presence",
    "quantity": "quantity",
    "color": "color",
    "shape": "shape",
    "size": "size",
    "position": "position",
    "direction": "direction",
    "scene": "scene",
    "reasoning": "reasoning",
}
TASKS = ("caption", "refer", "vqa")
CAPTION_PROMPT = "Describe the image in detail."


def read(
    path: str | Path, images: ImageLookup = BESIDE, split: str | None = None, *, task: str = "vqa"
) -> Iterator[Record | Problem]:
    """Records of one file.

    Args:
        path: the file.
        images: folder of the images; default: beside and below the file.
        split: everything is ``test``.
        task: what the file holds: ``caption``, ``refer`` or ``vqa``.
    """
    path = Path(path)
    if task not in TASKS:
        raise SkyEyeError(f"unknown task {task!r}", where="options.task", remedy=suggest(task, list(TASKS)))
    if split in (None, "test"):
        parse = {"caption": _caption, "refer": _refer, "vqa": _question}[task]
        folder = images.folder(path.parent)
        yield from records_of(rows_of(path), partial(_record, task=task, parse=parse, folder=folder))


def _record(row: Row, where: str, number: int, task: str, parse: Any, folder: ImageFolder) -> Record:
    turn, references = parse(row, where)
    name = row.get("image_id", row.get("image"))
    if not isinstance(name, str):
        raise BadRecord("no image", where, "image_id is missing")
    if row.get("question_id") is not None:
        references["published_id"] = str(row["question_id"])
    id = f"{task}:{row.get('question_id', number)}"
    return Record(id, "VRSBench", task, "test", (folder.find(name, where),), (turn,), references, (), where)


def _caption(row: Row, where: str) -> tuple[Turn, dict[str, Any]]:
    said = text_in(row, where, "no answer", "ground_truth", "caption")
    return Turn(CAPTION_PROMPT, said, "caption"), {"captions": [said]}


def _question(row: Row, where: str) -> tuple[Turn, dict[str, Any]]:
    question = text_in(row, where, "no question", "question")
    answer = text_in(row, where, "no answer", "ground_truth", "answer")
    kind = str(row.get("type", "")).lower()
    known = next((name for word, name in _TYPES.items() if word in kind), kind)
    return Turn(question, answer, "vqa"), {"answer": answer, **({"type": known} if known else {})}


def _refer(row: Row, where: str) -> tuple[Turn, dict[str, Any]]:
    phrase = text_in(row, where, "no question", "question").rstrip(".")
    answer = text_in(row, where, "no answer", "ground_truth")
    turn = read_turn(REFER_PROMPTS[0].format(phrase), answer, "refer", where=where)
    boxes = [list(box) for mention in turn.answer_mentions for box in mention.boxes]
    if len(boxes) != 1:
        raise BadRecord("no box", where, f"the truth is {len(boxes)} boxes: {answer[:60]!r}")
    unique = row.get("is_unique", row.get("unique"))
    kind = {} if unique is None else {"type": "unique" if unique in (True, 1, "true", "True") else "non_unique"}
    return turn, {"boxes": boxes, "phrase": phrase, **kind}
