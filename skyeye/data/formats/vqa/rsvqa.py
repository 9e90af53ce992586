"""RSVQA (LR, HR, xBEN): ``<set>_split_<split>_{questions,answers,images}.json``, joined by ids.

Every file lists the entries of all splits; those of the other splits carry ``"active": false`` and nothing else, so
they are not records of this split and are not reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, as_text, load_json, suggest
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError

#: Question type in the files -> its name in references and scores.
TYPES = {
    "presence": "presence",
    "comp": "comparison",
    "count": "count",
    "area": "area",
    "rural_urban": "rural_urban",
}
_SOURCES = {"LR": "RSVQA-LR", "USGS": "RSVQA-HR"}
FILE = re.compile(r"(?:(?P<set>.+)_)?split_(?P<split>train|val|test|test_phili)_questions\.json")
_NUMBER = re.compile(r"(\d{1,18})(m2)?")


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    types: Sequence[str] | None = None,
    bin_numbers: bool = False,
) -> Iterator[Record | Problem]:
    """One record per active question; it is the unit.

    Args:
        path: the folder with the JSON files.
        images: folder of the images, named by their id; default: ``Images``, ``Images_LR`` or ``Data`` in ``path``.
        split: train, val, test; ``test_phili`` is the second test set of RSVQA-HR (its records have split ``test``).
        types: keep only these question types (values of :data:`TYPES`); SkyEyeGPT is scored without count and area.
        bin_numbers: answer counts and areas by the ranges of the RSVQA paper (``between 11 and 100``) instead of the
            number in the file. The files hold numbers, so the default keeps them.
    """
    path = Path(path)
    for wanted in types or ():
        if wanted not in TYPES.values():
            raise SkyEyeError(
                f"unknown question type {wanted!r}", where="options.types", remedy=suggest(wanted, list(TYPES.values()))
            )
    called = "<set>_split_<split>_questions.json"
    files = annotation_files(path, "*.json", fits=lambda file: FILE.fullmatch(file.name), called=called)
    folder = images.folder(next((p for n in ("Images", "Images_LR", "Data") if (p := path / n).is_dir()), path))
    for file in files:
        match = FILE.fullmatch(file.name)
        if match is None or split not in (None, match["split"]):
            continue
        for item in _questions(match, file, folder, bin_numbers):
            kind = item.references["type"] if isinstance(item, Record) else None
            if kind is None or types is None or kind in types:
                yield item
            else:
                yield Problem("type not asked for", item.where, f"question type {kind}", by_rule=True)


def _questions(match: re.Match[str], file: Path, folder: ImageFolder, bin_numbers: bool) -> Iterator[Record | Problem]:
    """The active questions of one file."""
    answers = _by_id(file, "answers")
    active_images = {key for key, image in _by_id(file, "images").items() if image.get("active")}
    for index, question in enumerate(_entries(file, "questions")):
        where = f"{file}, question {index}"
        try:
            if not isinstance(question, dict):
                raise BadRecord("not a record", where, f"is not an object {{...}} but {str(question)[:60]!r}")
            if not question.get("active"):
                continue
            image = question.get("img_id")
            if not isinstance(image, (int, str)) or image not in active_images:
                raise BadRecord("missing image", where, f"image {str(image)[:30]} is not active in this split")
            yield _record(question, answers, where, match, folder, bin_numbers)
        except BadRecord as error:
            yield error.problem()


def _record(
    question: dict[str, Any],
    answers: dict[Any, dict[str, Any]],
    where: str,
    match: re.Match[str],
    folder: ImageFolder,
    bin_numbers: bool,
) -> Record:
    text = as_text(question.get("question"))
    if text is None:
        raise BadRecord("no question", where, "question is empty or not text")
    ids = question.get("answers_ids")
    key = ids[0] if isinstance(ids, list) and ids else None
    answer = as_text(answers.get(key, {}).get("answer")) if isinstance(key, (int, str)) else None
    if answer is None:
        raise BadRecord("no answer", where, f"answers_ids {str(ids)[:40]} leads to no answer")
    if bin_numbers:
        answer = number_range(answer)
    kind = str(question.get("type"))
    references = {"answer": answer, "type": TYPES.get(kind, kind)}
    if match["split"] != "train" and (published := as_text(question.get("id"))) is not None:
        references["published_id"] = published
    return Record(
        id=f"{match['split']}:{question.get('id')}",
        source=_SOURCES.get(match["set"], match["set"] or ""),
        task="vqa",
        split="test" if match["split"] == "test_phili" else match["split"],
        where=where,
        images=(folder.find(str(question["img_id"]), where),),
        turns=(Turn(text, answer, "vqa"),),
        references=references,
    )


def number_range(answer: str) -> str:
    """``37`` -> ``between 11 and 100``, ``407m2`` -> ``between 101m2 and 1000m2`` (Lobry et al. 2020); words stay."""
    match = _NUMBER.fullmatch(answer)
    if not match or int(match[1]) == 0:
        return answer
    number, unit = int(match[1]), match[2] or ""
    for low, high in ((1, 10), (11, 100), (101, 1000)):
        if number <= high:
            return f"between {low}{unit} and {high}{unit}"
    return f"more than 1000{unit}"


def _entries(questions_file: Path, what: str) -> list[Any]:
    file = questions_file.with_name(questions_file.name.replace("_questions.json", f"_{what}.json"))
    entries = load_json(file, dict).get(what)
    if not isinstance(entries, list):
        raise SkyEyeError(f"has no list `{what}`", where=str(file), remedy="check `format:` of this source")
    return entries


def _by_id(questions_file: Path, what: str) -> dict[Any, dict[str, Any]]:
    entries = _entries(questions_file, what)
    return {e["id"]: e for e in entries if isinstance(e, dict) and isinstance(e.get("id"), (int, str))}
