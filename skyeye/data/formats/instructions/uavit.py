"""UAVIT-1M and UAVBench: one image, one tagged question, its answer; boxes in hundredths or thousandths.

``{"id": ..., "image": "ERA/train/Harvesting/a.jpg", "conversations": [{"from": "human", "value": "<image>\\n[img_cls]
..."}, {"from": "gpt", "value": "harvesting"}]}`` in a JSON list or one object a line; ``conversations`` may be a string
that holds such a list, in JSON or as Python writes it. The data set of a record is the first folder of its image path;
a data set with a tag is a unit. What is known of the two sets and what is not: docs/uavit.md.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.image_roots import ImageRoots
from skyeye.data.formats.base.json_lists import ELSEWHERE
from skyeye.data.formats.base.problems import BadRecord, Problem, suggest
from skyeye.data.formats.base.splits import split_in
from skyeye.data.formats.instructions.dialects import items_of
from skyeye.data.formats.instructions.llava import parse_llava, read_turn, references_of, regions_of
from skyeye.data.formats.instructions.messages import as_record
from skyeye.data.formats.instructions.plain import two_texts
from skyeye.data.formats.instructions.uavit_scale import (
    THOUSANDTHS,
    UnitScale,
    clean_path,
    data_set_of,
    unit_scales,
)
from skyeye.data.geometry.box_text import HUNDREDTHS, NOTATIONS, SKYEYE
from skyeye.data.prompts.uavit import UAVIT_TAGS
from skyeye.data.record import Record
from skyeye.data.tasks import FREE
from skyeye.errors import SkyEyeError

IN_PARTS = True  # several processes may read a list
TASK_OF = {tag[1:-1]: task for task, tag in UAVIT_TAGS.items()}
_TAG = re.compile(r"((?:\s|<image>)*)\[\s*(\w+)\s*\]\s*")
_NUMBER = re.compile(r"<\s*(\d{1,9})\s*>")
_CLASSES = re.compile(r"given classes?\s*:\s*(.+?)\.(?:\s|$)", re.IGNORECASE | re.DOTALL)
_AND = re.compile(r"\s+and\s+(?=[^,]*$)")
_REGION = ("region_classification", "identify", "region_vqa")
_MARKER = re.compile(r"<(?:image|img|video|\|)|\ufeff", re.IGNORECASE)  # what else messages may hold
_LONGEST = 1 << 20  # characters of conversations in a string

Scale = int | Mapping[str, int] | None


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    roots: Sequence[str] | Mapping[str, str] | None = None,
    scale: int | Mapping[str, int] | None = None,
) -> Iterator[Record | Problem]:
    """Records of one file, or of every ``*.json`` and ``*.jsonl`` below a folder. The unit is the record.

    The scale of the boxes is told once a file and unit, as a remark.

    Args:
        path: file or folder.
        images: folder of the images; default: beside the file.
        split: keep only this split; train, val or test in the name of the file, else test of a file called
            ``UAVBench`` and train of any other.
        roots: several folders of images, or the folder of each data set by its name (``{ERA: /data/era}``).
        scale: 100 or 1000 instead of what the data say; or by unit (``ERA/vg``), data set or tag.
    """
    path = Path(path)
    _check_scale(scale)
    files = annotation_files(path, "**/*.json", "**/*.jsonl") if path.is_dir() else [path]
    folder = path if path.is_dir() else path.parent
    finder = ImageRoots(roots, keep_absent=images.keep_absent) if roots else images.folder(folder)
    for file in files:
        of = split_in(file.stem) or ("test" if "bench" in file.stem.lower() else "train")
        if split is None or of == split:
            yield from _records(file, of, finder.find, scale)


def before_parts(path: str, scale: Scale = None, **_: Any) -> None:
    """Look at the scales of a file once, before several processes read parts of it."""
    if isinstance(scale, int) or not Path(path).is_file():
        return
    unit_scales(Path(path))


def _check_scale(scale: Scale) -> None:
    for name, value in (scale if isinstance(scale, Mapping) else {"": scale}).items():
        if value not in (None, HUNDREDTHS, THOUSANDTHS):
            where = f"options.scale.{name}" if name else "options.scale"
            raise SkyEyeError(f"{value} is no scale of boxes", where=where, remedy="write 100 or 1000")


def _records(file: Path, split: str, find: Callable[[str, str], str], scale: Scale) -> Iterator[Record | Problem]:
    scales = {} if isinstance(scale, int) else unit_scales(file)

    def scale_of(unit: str) -> int | None:
        told, found = _told(scale, unit), scales.get(unit)
        return told or (found.scale if found is not None else HUNDREDTHS)

    for number, (where, item) in enumerate(items_of(file)):
        if number == 0 and item is not ELSEWHERE:  # of a list read in parts, the first tells it
            yield from _scales_told(file, scales, scale)
        if item is ELSEWHERE:
            continue
        try:
            if isinstance(item, BadRecord):
                raise item
            yield parse_uavit(item, where, id=f"{file.stem}:{number}", split=split, find_image=find, scale_of=scale_of)
        except BadRecord as error:
            yield error.problem()


def _scales_told(file: Path, scales: Mapping[str, UnitScale], scale: Scale) -> Iterator[Problem]:
    for unit, found in scales.items():
        if found.scale is not None and _told(scale, unit) is None:
            what = f"boxes of {unit} are read as 0..{found.scale}: {found.above} of {found.records} records"
            yield Problem("box scale", str(file), f"{what} with boxes have a number above 100", True, count=0)


def _told(scale: Scale, unit: str) -> int | None:
    """The scale that somebody gave for a unit."""
    if scale is None or isinstance(scale, int):
        return scale
    data_set, _, tag = unit.rpartition("/")
    return next((scale[name] for name in (unit, data_set, tag) if name in scale), None)


def parse_uavit(
    item: object,
    where: str,
    *,
    id: str,
    split: str,
    find_image: Callable[[str, str], str],
    scale_of: Callable[[str], int | None],
) -> Record:
    """One record.

    Args:
        item: the JSON value.
        where: file and record number, for messages.
        find_image: (name, where) -> path of the image.
        scale_of: unit -> the number of a whole image side in its boxes; None: it has two.

    Raises:
        BadRecord: nothing asked or answered, no tag that is known, a broken box, no image.
    """
    row = as_record(item, where)
    messages = _messages(row.get("conversations"), where)
    image = clean_path(row.get("image")) or clean_path(row.get("id"))
    tag, messages = _without_tag(messages, where)
    data_set, task = data_set_of(image), TASK_OF.get(tag or "")
    scale = _scale(messages, f"{data_set}/{tag}", scale_of, where)
    notation = NOTATIONS["braces_1000"] if scale == THOUSANDTHS else SKYEYE
    texts = two_texts(messages) if task is not None and image else None
    if task is not None and texts is not None and _MARKER.search(texts[0]) is None:  # as nearly all are
        question = texts[0].replace("\n", " ")
        turn = read_turn(question, texts[1], task, notation, where=where)
        regions = tuple(regions_of(turn)) if turn.mentions else ()
        record = Record(id, data_set, task, split, (find_image(image, where),), (turn,), {}, regions, where)
        record.references.update(references_of(turn, question, texts[1], None))
    else:
        record = parse_llava(
            {"image": image, "conversations": messages}, where, id=id, source=data_set, split=split, task=task,
            find_image=find_image, notation=notation,
        )  # fmt: skip
    return _with_truth(record, where)


def _messages(said: Any, where: str) -> Any:
    """The messages of a row, also of one that holds them as text."""
    if not isinstance(said, str):
        return said
    if len(said) > _LONGEST:
        raise BadRecord("no conversation", where, f"conversations are a text of {len(said)} characters")
    try:
        return json.loads(said)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(said.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        what = f"conversations are a text that holds no list: {said[:60]!r}"
        raise BadRecord("no conversation", where, what) from error


def _without_tag(messages: Any, where: str) -> tuple[str | None, Any]:
    """The tag of the first question, and the messages without it."""
    first: Any = messages[0] if isinstance(messages, list) and messages else None
    text: Any = first.get("value") if isinstance(first, dict) else None
    match = _TAG.match(text) if isinstance(text, str) else None
    if match is None:
        return None, messages
    if match[2] not in TASK_OF:
        raise BadRecord("unknown tag", where, f"unknown task tag [{match[2]}]; {suggest(match[2], list(TASK_OF))}")
    return match[2], [{**first, "value": match[1] + text[match.end() :]}, *messages[1:]]


def _scale(messages: Any, unit: str, scale_of: Callable[[str], int | None], where: str) -> int:
    texts = [m.get("value") for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    numbers = [int(n) for text in texts if isinstance(text, str) and "<" in text for n in _NUMBER.findall(text)]
    if not numbers:
        return HUNDREDTHS
    scale = scale_of(unit)
    if scale is None:
        what = f"unit {unit} has boxes in 0..100 and in 0..1000; say which by options.scale: {{{unit}: 100}}"
        raise BadRecord("two box scales", where, what)
    if scale == THOUSANDTHS and max(numbers) > THOUSANDTHS:  # of hundredths it is looked at where they are read
        raise BadRecord("box outside the image", where, f"a box has the number {max(numbers)} and leaves 0..1000")
    return scale


def _with_truth(record: Record, where: str) -> Record:
    """The record with what its answer is scored by, where it is of another kind than LLaVA's records have."""
    turn, task = record.turns[0], record.task
    if task == "refer" and not record.references.get("boxes"):
        raise BadRecord("no box", where, f"[vg] is answered without a box: {turn.answer[:60]!r}")
    if len(record.turns) > 1 or task in ("refer", "detection", "caption", FREE):
        return record
    references = record.references  # its own, and nobody else's yet
    if task == "detail":
        references["captions"] = [turn.answer]
        return record
    references["answer"] = turn.answer
    if task in _REGION:
        references["boxes"] = [list(box) for mention in turn.question_mentions for box in mention.boxes]
        if not references["boxes"]:
            raise BadRecord("no box", where, f"a question about a region holds none: {turn.question[:60]!r}")
    if ":" in turn.question and (named := _CLASSES.search(turn.question)):
        references["classes"] = [name.strip() for name in _AND.sub(", ", named[1]).split(",") if name.strip()]
    return record
