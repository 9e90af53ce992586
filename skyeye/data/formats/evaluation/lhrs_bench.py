"""LHRS-Bench: questions with options, ``qa.json``, as its own and public code read it.

``{"data": [{"filename", "qa_pairs": [{"question", "choices": "A. x; B. y", "answer": "A.", "type": ["1"]}]}],
"qtype": {"1 identity": ...}}``. The unit is the question.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.choices import choice_record, letters_in, options_in
from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, load_json
from skyeye.data.formats.base.rows import Row, records_of, text_in
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError


def read(path: str | Path, images: ImageLookup = BESIDE, split: str | None = None) -> Iterator[Record | Problem]:
    """Records of ``qa.json``.

    Args:
        path: the file.
        images: folder of the images; default: ``imgs_png``, ``imgs_jpg`` or anything beside the file.
        split: everything is ``test``.
    """
    path = Path(path)
    content = load_json(path, dict)
    data, kinds = content.get("data"), content.get("qtype")
    if not isinstance(data, list):
        raise SkyEyeError("has no list `data`", where=str(path), remedy="check `format:` of this source")
    named = [str(key).partition(" ") for key in kinds] if isinstance(kinds, dict) else []
    names = {number: name.strip() for number, _, name in named if name}
    beside = next((p for name in ("imgs_png", "imgs_jpg") if (p := path.parent / name).is_dir()), path.parent)
    if split in (None, "test"):
        rows = [*_questions(data, str(path))]
        yield from records_of(rows, partial(_record, kinds=names, folder=images.folder(beside)))


def _questions(data: list[Any], file: str) -> Iterator[tuple[str, Any]]:
    for number, image in enumerate(data):
        pairs = image.get("qa_pairs") if isinstance(image, dict) else None
        if not isinstance(pairs, list):
            yield f"{file}, image {number}", image if not isinstance(image, dict) else {}
            continue
        for index, pair in enumerate(pairs):
            row = {**pair, "filename": image.get("filename")} if isinstance(pair, dict) else pair
            yield f"{file}, image {number}, question {index}", row


def _record(row: Row, where: str, number: int, kinds: dict[str, str], folder: ImageFolder) -> Record:
    question = text_in(row, where, "no question", "question")
    options = options_in(row.get("choices"), where)
    letters = letters_in(row.get("answer"), options, where)
    name = row.get("filename")
    if not isinstance(name, str):
        raise BadRecord("no image", where, "filename is missing")
    types = row.get("type")
    types = types if isinstance(types, list) else [types]
    told = [kinds.get(str(kind), str(kind)) for kind in types if kind is not None]
    return choice_record(
        question, options, letters, id=f"lhrs_bench:{number}", source="LHRS-Bench", split="test", where=where,
        images=(folder.find(name, where),), references={"types": told} if told else {},
    )  # fmt: skip
