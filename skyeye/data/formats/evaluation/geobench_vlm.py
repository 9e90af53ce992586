"""GEOBench-VLM: questions with options, ``Single/qa.json`` of the published folder.

Rows, as the evaluation code of the benchmark reads them: ``image_path``, ``question_id``, ``prompts`` (wordings of one
question), ``options_list`` or ``options``, ``ground_truth_option``, ``ground_truth``, ``task``, ``cls_description``. A
row of two images is a pair before and after an event (``Temporal/qa.json``). The first wording is asked. The unit is
the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from skyeye.data.formats.base.choices import choice_record, letters_in, options_in
from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem
from skyeye.data.formats.base.rows import Row, records_of, rows_of, text_in
from skyeye.data.record import Record


def read(path: str | Path, images: ImageLookup = BESIDE, split: str | None = None) -> Iterator[Record | Problem]:
    """Records of ``qa.json``.

    Args:
        path: the file.
        images: the folder that ``image_path`` begins in; default: the one above the file's.
        split: everything is ``test``.
    """
    path = Path(path)
    folder = images.folder(path.parent.parent)
    if split in (None, "test"):
        yield from records_of(rows_of(path), partial(_record, folder=folder))


def _record(row: Row, where: str, number: int, folder: ImageFolder) -> Record:
    prompts = row.get("prompts")
    first = prompts[0] if isinstance(prompts, list) and prompts else prompts
    question = text_in({**row, "prompts": first}, where, "no question", "prompts", "question")
    about = row.get("cls_description")
    if isinstance(about, str) and about.strip():
        question = f"{about.strip()} {question}"
    options = options_in(row.get("options_list") or row.get("options"), where)
    letters = letters_in(row.get("ground_truth_option", row.get("ground_truth")), options, where)
    names = row.get("image_path")
    names = names if isinstance(names, list) else [names]
    names = [*names[:1], *names[1:][-1:]]  # of a series the first and the last, as its code shows them
    if not names or not all(isinstance(name, str) for name in names):
        raise BadRecord("no image", where, f"image_path is not a file name: {str(names)[:60]!r}")
    task = row.get("task")
    return choice_record(
        question, options, letters, task="change_vqa" if len(names) == 2 else "vqa",
        id=f"geobench:{row.get('question_id', number)}", source="GEOBench-VLM", split="test", where=where,
        images=tuple(folder.find(name, where) for name in names),
        references={} if task is None else {"type": str(task)},
    )  # fmt: skip
