"""CDVQA: questions about what changed between two images of SECOND, ``<Split>_{questions,answers,images}.json``.

The images lie in ``im1`` (before) and ``im2`` (after) under one name. The unit is the active question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, load_json
from skyeye.data.formats.base.rows import Row, records_of, text_in
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError

FILE = re.compile(r"(?P<split>Train|Val|Test2?)_questions\.json")


def read(path: str | Path, images: ImageLookup = BESIDE, split: str | None = None) -> Iterator[Record | Problem]:
    """Records of every split in a folder.

    Args:
        path: the folder with the JSON files.
        images: folder of ``im1`` and ``im2``; default: beside and below the files.
        split: train, val, test; ``test2`` is the second test set (its records have split ``test``).
    """
    path = Path(path)
    called = "<Split>_questions.json"
    files = annotation_files(path, "*.json", fits=lambda file: FILE.fullmatch(file.name), called=called)
    folder = images.folder(path)
    for file in files:
        of = FILE.fullmatch(file.name)["split"].lower()  # type: ignore[index]  # it fits
        if split in (None, of):
            answers, pictures = _by_id(file, "answers"), _by_id(file, "images")
            rows = [(f"{file}, question {number}", row) for number, row in enumerate(_entries(file, "questions"))]
            active = [(w, row) for w, row in rows if not isinstance(row, dict) or row.get("active", True)]
            yield from records_of(active, partial(_record, of=of, answers=answers, pictures=pictures, folder=folder))


def _record(
    row: Row, where: str, number: int, of: str, answers: dict[Any, Row], pictures: dict[Any, Row], folder: ImageFolder
) -> Record:
    question = text_in(row, where, "no question", "question")
    ids = row.get("answers_ids")
    answer = text_in(_at(answers, ids[0] if isinstance(ids, list) and ids else None), where, "no answer", "answer")
    name = _at(pictures, row.get("img_id")).get("file_name")
    if not isinstance(name, str):
        raise BadRecord("no image", where, f"img_id {str(row.get('img_id'))[:30]} leads to no file_name")
    words = answer.replace("_", " ")
    references = {"answer": words, "type": str(row.get("type"))}
    if of.startswith("test") and row.get("id") is not None:
        references["published_id"] = str(row["id"])
    return Record(
        f"{of}:{row.get('id', number)}", "CDVQA", "change_vqa", "test" if of == "test2" else of,
        tuple(folder.find(f"{side}/{name}", where) for side in ("im1", "im2")),
        (Turn(question, words, "change_vqa"),), references, (), where,
    )  # fmt: skip


def _at(entries: dict[Any, Row], key: Any) -> Row:
    return entries.get(key, {}) if isinstance(key, (int, str)) else {}


def _entries(questions: Path, what: str) -> list[Any]:
    file = questions.with_name(questions.name.replace("_questions.json", f"_{what}.json"))
    entries = load_json(file, dict).get(what)
    if not isinstance(entries, list):
        raise SkyEyeError(f"has no list `{what}`", where=str(file), remedy="check `format:` of this source")
    return entries


def _by_id(questions: Path, what: str) -> dict[Any, Row]:
    entries = _entries(questions, what)
    return {e["id"]: e for e in entries if isinstance(e, dict) and isinstance(e.get("id"), (int, str))}
