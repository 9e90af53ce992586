"""XLRS-Bench-lite: questions with options about very large images, in tables of Hugging Face that hold the images.

Columns, as public code reads them: ``question``, ``multi-choice options``, ``answer`` (one or several letters),
``category``, ``image`` and ``path``. The unit is the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.choices import choice_record, letters_in, options_in
from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem
from skyeye.data.formats.base.rows import Row, records_of, rows_of, text_in
from skyeye.data.formats.base.tables import find_in
from skyeye.data.record import Record

_OPTIONS = ("multi-choice options", "options", "choices")


def read(path: str | Path, images: ImageLookup = BESIDE, split: str | None = None) -> Iterator[Record | Problem]:
    """Records of a table, or of every table below a folder.

    Args:
        path: ``.parquet`` or ``.arrow``, a JSON list of the same keys, or the folder of such files.
        images: folder of the images, where the table only names them; default: beside it.
        split: everything is ``test``.
    """
    path = Path(path)
    files = annotation_files(path, "**/*.parquet", "**/*.arrow") if path.is_dir() else [path]
    folder = images.folder(path if path.is_dir() else path.parent)
    for file in files if split in (None, "test") else ():
        yield from records_of(rows_of(file), partial(_record, stem=file.stem, find=find_in(file, folder.find)))


def _record(row: Row, where: str, number: int, stem: str, find: Callable[[str, str], str]) -> Record:
    question = text_in(row, where, "no question", "question")
    options = options_in(next((row[key] for key in _OPTIONS if row.get(key) is not None), None), where)
    letters = letters_in(row.get("answer"), options, where)
    image = row.get("image") or row.get("path")
    image = image[0] if isinstance(image, list) and image else image
    if not isinstance(image, str):
        raise BadRecord("no image", where, "the row has no image")
    kind = row.get("category") or row.get("l2-category")
    return choice_record(
        question, options, letters, id=f"{stem}:{number}", source="XLRS-Bench-lite", split="test", where=where,
        images=(find(image, where),),
        references={} if kind is None else {"type": str(kind)},
    )  # fmt: skip
