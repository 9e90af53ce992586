"""Files of LLaVA-style instructions, in any of the box notations of the field: GeoChat_Instruct, RS-instructions,
MMRS-1M, LHRS-Instruct, VHM. Texts whose boxes became numbers stay in ``references["original"]``.

A file is a JSON list, ``{"data": [...]}``, or one object per line. One record is read by
:mod:`skyeye.data.formats.instructions.llava`, or is in the layout of LHRS-Instruct: ``{"name": ..., "conv":
[{"Question": ..., "Answer": ...}]}``, for grounding ``{"img": ..., "question": ..., "answer": ...}``. VHM's marks
``{VG}`` and ``{VQA}`` become the task tags. The unit is the record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.json_lines import iter_json_lines
from skyeye.data.formats.base.json_lists import ELSEWHERE, iter_json_list
from skyeye.data.formats.base.problems import BadRecord, Problem, image_size, load_json, suggest
from skyeye.data.formats.base.splits import split_in
from skyeye.data.formats.base.tables import SUFFIXES, find_in, iter_rows
from skyeye.data.formats.instructions.beside import COLUMN, with_beside
from skyeye.data.formats.instructions.layouts import as_llava, with_folder
from skyeye.data.formats.instructions.llava import image_names, parse_llava
from skyeye.data.formats.instructions.messages import as_record, messages_of, text_of
from skyeye.data.formats.instructions.plain import plain_record
from skyeye.data.formats.instructions.swift_objects import with_objects
from skyeye.data.geometry.box_text import (
    NOTATIONS,
    SKYEYE,
    BoxNotation,
    Size,
    detect_notation,
    is_ambiguous,
    notation,
)
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import Record
from skyeye.data.tasks import check_task
from skyeye.errors import SkyEyeError

_DATA = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"data"\s*:')
METADATA = "metadata"  # of an image folder of Hugging Face: the folder around it says the split
PLAIN = "plain"  # brackets are words
IN_PARTS = True  # several processes may read a list
_EDGE = 0.011  # a box may leave the image by the rounding of its notation


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    source: str | None = None,
    task: str | None = None,
    boxes: str = "auto",
    strict_tags: bool = False,
    vhm_marks: bool = True,
) -> Iterator[Record | Problem]:
    """Records of one file, or of every ``*.json`` and ``*.jsonl`` (or ``*.parquet`` and ``*.arrow``) below a folder.

    Args:
        path: file or folder.
        images: folder of the images; default: beside the file.
        split: keep only this split; train, val or test in the name of the file, else train.
        source: name of the data set.
        task: what records without a tag ask; default: a conversation in free words.
        boxes: the notation of the boxes, a key of :data:`~skyeye.data.geometry.box_text.NOTATIONS`; ``auto`` tells
            ``skyeye``, ``geochat``, ``fractions`` and ``qwen`` apart record by record. MMRS-1M needs ``padded``, VHM
            ``thousandths``. ``plain``: what stands in brackets is no box.
        vhm_marks: VHM's marks become tasks, as every model writes them; False: they stay words of the question, also
            those that are no task of ours (``{IDK}``, ``{IT}``), as VHM itself learns them.
        strict_tags: see :func:`~skyeye.data.formats.instructions.llava.parse_llava`.
    """
    path = Path(path)
    check_options(task, boxes)
    patterns = ("**/*.json", "**/*.jsonl", *(f"**/*{suffix}" for suffix in SUFFIXES))
    files = annotation_files(path, *patterns, fits=_holds_records) if path.is_dir() else [path]
    folder = images.folder(path if path.is_dir() else path.parent)
    for file in files:
        of = split_in(file if file.stem == METADATA else file.stem) or "train"
        if split is None or of == split:
            about: dict[str, Any] = {"source": source or "", "split": of, "task": task, "strict_tags": strict_tags}
            about["vhm_marks"] = vhm_marks
            find = find_in(file, folder.find) if file.suffix.lower() in SUFFIXES else folder.find
            yield from records_of(items_of(file), file.stem, boxes, find, **about)


def _holds_records(file: Path) -> bool:
    """What ``datasets`` writes beside its tables holds none."""
    return file.name not in ("dataset_info.json", "dataset_dict.json", "state.json")


def check_options(task: str | None, boxes: str) -> None:
    """Refuse an unknown task or notation.

    Raises:
        SkyEyeError: it is none.
    """
    if task is not None:
        check_task(task, "options.task")
    if boxes not in ("auto", PLAIN, *NOTATIONS):
        remedy = suggest(str(boxes), ["auto", PLAIN, *NOTATIONS])
        raise SkyEyeError(f"unknown notation {boxes!r}", where="options.boxes", remedy=remedy)


def records_of(
    items: Iterable[tuple[str, Any]],
    stem: str,
    boxes: str,
    find: Callable[[str, str], str],
    *,
    source: str,
    split: str,
    task: str | None,
    strict_tags: bool,
    vhm_marks: bool = True,
) -> Iterator[Record | Problem]:
    """The records of (place, JSON value), or what is wrong with them.

    Args:
        stem: of the file, with which the ids begin.
        boxes, source, task, strict_tags, vhm_marks: as :func:`read` takes them.
        find: (name, where) -> path of the image.
        split: of all of them.
    """
    for number, (where, item) in enumerate(items):
        if item is ELSEWHERE:
            continue
        try:
            if isinstance(item, BadRecord):
                raise item
            id, item = f"{stem}:{number}", with_folder(item)
            about: dict[str, Any] = {"id": id, "source": source, "split": split, "task": task}
            yield plain_record(item, where, id, source, split, task, find) or record_of(
                item, where, boxes, find, vhm_marks, strict_tags=strict_tags, **about
            )
        except BadRecord as error:
            yield error.problem()


def items_of(file: Path) -> Iterator[tuple[str, Any]]:
    """(place, JSON value) of each record of a file; in a list read in parts, ``ELSEWHERE`` for those of another part.

    Raises:
        SkyEyeError: it cannot be read.
    """
    if file.suffix == ".jsonl":
        yield from iter_json_lines(file)
        return
    if file.suffix.lower() in SUFFIXES:
        yield from ((where, _of_table(row)) for where, row in iter_rows(file))
        return
    try:
        with open(file, "rb") as opened:
            start = opened.read(4096)
    except OSError as error:
        remedy = "check `path:` of this source"
        raise SkyEyeError(f"cannot be read: {error.strerror or error}", where=str(file), remedy=remedy) from error
    if _DATA.match(start):
        content = load_json(file, dict)["data"]
        if not isinstance(content, list):
            raise SkyEyeError("`data` is no list", where=str(file), remedy="check `format:` of this source")
    else:
        content = iter_json_list(file)
    name = str(file)
    for index, item in enumerate(content):
        yield f"{name}, record {index}", item


def _of_table(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its images under the name that an image folder gives them."""
    held = row.get("images", row.get("image"))
    names = [name for name in (held if isinstance(held, list) else [held]) if name is not None]
    rest = {key: value for key, value in row.items() if key not in ("image", "images") and value is not None}
    return {**rest, "file_names": names} if names else rest


def record_of(
    item: Any, where: str, boxes: str, find: Callable[[str, str], str], vhm_marks: bool = True, **about: Any
) -> Record:
    """One record in any of the layouts.

    Args:
        item, where, about: as :func:`~skyeye.data.formats.instructions.llava.parse_llava` takes them.
        boxes, vhm_marks: as :func:`read` takes them.
        find: (name, where) -> path of the image.

    Raises:
        BadRecord: it is not sound.
    """
    item = as_llava(as_record(item, where), vhm_marks)
    column = item.get(COLUMN)
    if item.get("objects"):
        record = _with_objects(item, where, find, about)
    else:
        record = _with_written_boxes(item, where, boxes, find, about)
    return record if column is None else with_beside(record, column, where)


def _with_objects(item: dict[str, Any], where: str, find: Callable[[str, str], str], about: dict[str, Any]) -> Record:
    """A record of ms-swift, whose boxes stand beside its texts."""
    messages_of(item, where)
    names = image_names(item, where)

    def size_of(number: int) -> Size:
        if not 0 <= number < len(names):
            raise BadRecord("no image", where, f"a box is on image {number}, and the record names {len(names)}")
        return image_size(find(names[number], where), where)

    marked, mentions = with_objects(item, where, size_of)
    _check_inside([box for turn in mentions for mention in turn for box in mention.boxes], where)
    return parse_llava(marked, where, find_image=find, mentions=mentions, **about)


def _with_written_boxes(
    item: dict[str, Any], where: str, boxes: str, find: Callable[[str, str], str], about: dict[str, Any]
) -> Record:
    texts = [text for message in messages_of(item, where) if (text := text_of(message))]
    name = _notation(texts, where) if boxes == "auto" else boxes
    written = SKYEYE if name in (None, PLAIN) else notation(name)
    size = _size(item, texts, written, find, where)
    if written.name != SKYEYE.name:
        found = [box for text in texts for part in written.find(text, size) for box in part.boxes]
        _check_inside(found, where)
    record = parse_llava(item, where, find_image=find, notation=written, size=size, **about)
    if written.name == SKYEYE.name or not any(turn.mentions for turn in record.turns):
        return record
    return replace(record, references={**record.references, "original": {"notation": written.name, "texts": texts}})


def _notation(texts: list[str], where: str) -> str | None:
    named = [name for text in texts if (name := detect_notation(text))]
    if "geochat" in named:
        return "geochat"  # it takes boxes without an angle, too
    if not named and any(map(is_ambiguous, texts)):
        raise BadRecord(
            "unclear box",
            where,
            "numbers in brackets could be thousandths, pixels or no box; set options.boxes of the source, or"
            f" --option boxes=NAME, to the one meant: thousandths, pixels, {PLAIN}",
        )
    return named[0] if named else None


def _size(
    item: dict[str, Any], texts: list[str], notation: BoxNotation, find: Callable[[str, str], str], where: str
) -> Size | None:
    """Size of the image, where the boxes of this record cannot be read without it."""
    if not notation.needs_size and not notation.angle:
        return None
    if not any(notation.find(text, (1, 1)) for text in texts):
        return 1, 1
    name = item.get("image", item.get("images"))
    name = name[0] if isinstance(name, list) and name else name
    if not isinstance(name, str):
        raise BadRecord("no image", where, f"boxes in {notation.name} need the image; the record names none")
    return image_size(find(name, where), where)


def _check_inside(boxes: list[Box | OrientedBox], where: str) -> None:
    for box in boxes:
        upright = box.upright() if isinstance(box, OrientedBox) else box
        leaves = not all(-_EDGE <= v <= 1 + _EDGE for v in upright)
        if isinstance(box, OrientedBox):  # a turned box in a corner of the image reaches out of it
            leaves = upright.clipped().area < 0.5 * upright.area
        if leaves:
            numbers = ", ".join(f"{v:.2f}" for v in upright)
            raise BadRecord("box outside the image", where, f"box ({numbers} in fractions) leaves the image")
