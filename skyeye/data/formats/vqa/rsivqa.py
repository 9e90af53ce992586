"""RSIVQA text files: one ``image:question?answer`` a line (``P0003: how many ships are there in this picture?4``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, text_lines
from skyeye.data.formats.base.splits import Splits, split_in
from skyeye.data.record import Record, Turn

#: The files of the set: dota_train_vqa2.txt, sydney_vqa.txt, ucm_vqa.txt, ucm_res.txt ...
NAMES = ("*vqa*.txt", "*_res.txt")


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    split_file: str | None = None,
    splits: Mapping[str, str | Sequence[str]] | None = None,
) -> Iterator[Record | Problem]:
    """One record per line; the line is the unit.

    Args:
        path: one text file, or a folder with ``*vqa*.txt`` and ``*_res.txt`` files (the published names).
        images: folder of the images; default: the folder of the file. Names without extension are looked up.
        split: keep only this split. A file with train, val or test in its name is that split.
        split_file, splits: see :class:`~skyeye.data.formats.base.splits.Splits`; for files that do not name a split.
    """
    path = Path(path)
    files = annotation_files(path, *(f"**/{name}" for name in NAMES)) if path.is_dir() else [path]
    folder = images.folder(path if path.is_dir() else path.parent)
    for file in files:
        named = split_in(file.name)
        if named and split is not None and named != split:
            continue
        rule = Splits(split_file, splits)
        for number, line in enumerate(text_lines(file), start=1):
            where = f"{file}, line {number}"
            if not line.strip():
                continue
            try:
                name, question, answer = _parse(line, where)
                of = named or rule.of(name)
                if of is None:
                    yield Problem("no split", where, f"{name} is not listed in {split_file}", by_rule=True)
                elif split is None or of == split:
                    yield Record(
                        id=f"{file.stem}:{number}",
                        source="",
                        task="vqa",
                        split=of,
                        where=where,
                        images=(folder.find(name, where),),
                        turns=(Turn(question, answer, "vqa"),),
                        references={"answer": answer, "type": question_type(question)},
                    )
            except BadRecord as error:
                yield error.problem()


def question_type(question: str) -> str:
    """``theme``, ``count``, ``presence`` or ``other``; the files do not say it, the wording does."""
    question = question.lower()
    if "theme" in question:
        return "theme"
    if re.match(r"how many|what is the number|what number", question):
        return "count"
    if re.match(r"(does|do|is|are) ", question):
        return "presence"
    return "other"


def _parse(line: str, where: str) -> tuple[str, str, str]:
    name, colon, rest = line.partition(":")
    question, mark, answer = rest.rpartition("?")
    name, question, answer = name.strip(), question.strip(), answer.strip()
    if not (colon and mark and name and question):
        raise BadRecord("not a record", where, f"is not image:question?answer but {line[:60]!r}")
    if not answer:
        raise BadRecord("no answer", where, f"nothing follows the question {question[:60]!r}")
    return name, f"{question}?", answer
