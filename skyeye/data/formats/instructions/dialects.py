"""Files of LLaVA-style instructions, in any of the box notations of the field: GeoChat_Instruct, RS-instructions,
MMRS-1M, LHRS-Instruct, VHM. Texts whose boxes became numbers stay in ``references["original"]``.

A file is a JSON list, ``{"data": [...]}``, or one object per line. One record is read by
:mod:`skyeye.data.formats.instructions.llava`, or is in the layout of LHRS-Instruct: ``{"name": ..., "conv":
[{"Question": ..., "Answer": ...}]}``, for grounding ``{"img": ..., "question": ..., "answer": ...}``. VHM's marks
``{VG}`` and ``{VQA}`` become the task tags. The unit is the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.json_lines import iter_json_lines
from skyeye.data.formats.base.json_lists import ELSEWHERE, iter_json_list
from skyeye.data.formats.base.problems import BadRecord, Problem, image_size, load_json, suggest
from skyeye.data.formats.base.splits import split_in
from skyeye.data.formats.instructions.llava import parse_llava
from skyeye.data.formats.instructions.messages import as_record, messages_of, text_of
from skyeye.data.formats.instructions.plain import plain_record
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

_VHM = re.compile(r"\{(VG|VQA|CLS|IT|IDK)\}\s*")
_VHM_TAGS = {"VG": "[refer] ", "VQA": "[vqa] ", "CLS": "[vqa] "}
_DATA = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"data"\s*:')
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
    """Records of one file, or of every ``*.json`` and ``*.jsonl`` below a folder.

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
    if task is not None:
        check_task(task, "options.task")
    if boxes not in ("auto", PLAIN, *NOTATIONS):
        remedy = suggest(str(boxes), ["auto", PLAIN, *NOTATIONS])
        raise SkyEyeError(f"unknown notation {boxes!r}", where="options.boxes", remedy=remedy)
    files = annotation_files(path, "**/*.json", "**/*.jsonl") if path.is_dir() else [path]
    folder = images.folder(path if path.is_dir() else path.parent)
    for file in files:
        of = split_in(file.stem) or "train"
        if split is not None and of != split:
            continue
        stem, named = file.stem, source or ""
        for number, (where, item) in enumerate(_items(file)):
            if item is ELSEWHERE:
                continue
            try:
                if isinstance(item, BadRecord):
                    raise item
                id, item = f"{stem}:{number}", _with_folder(item)
                yield plain_record(item, where, id, named, of, task, folder.find) or _record(
                    _as_llava(as_record(item, where), vhm_marks),
                    where,
                    boxes,
                    folder,
                    id=id,
                    source=named,
                    split=of,
                    task=task,
                    strict_tags=strict_tags,
                )
            except BadRecord as error:
                yield error.problem()


def _items(file: Path) -> Iterator[tuple[str, Any]]:
    if file.suffix == ".jsonl":
        yield from iter_json_lines(file)
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


def _record(item: dict[str, Any], where: str, boxes: str, folder: ImageFolder, **about: Any) -> Record:
    texts = [text for message in messages_of(item, where) if (text := text_of(message))]
    name = _notation(texts, where) if boxes == "auto" else boxes
    written = SKYEYE if name in (None, PLAIN) else notation(name)
    size = _size(item, texts, written, folder, where)
    if written.name != SKYEYE.name:
        found = [box for text in texts for part in written.find(text, size) for box in part.boxes]
        _check_inside(found, where)
    record = parse_llava(item, where, find_image=folder.find, notation=written, size=size, **about)
    if written.name == SKYEYE.name or not any(turn.mentions for turn in record.turns):
        return record
    return replace(record, references={**record.references, "original": {"notation": written.name, "texts": texts}})


def _with_folder(item: Any) -> Any:
    """A record of VHM, which names the folder of its picture beside it, with both in one name."""
    folder, name = (item.get(key) for key in ("source_dataset", "image")) if isinstance(item, dict) else (None, None)
    if not isinstance(folder, str) or not isinstance(name, str):
        return item
    return {**item, "image": f"{folder}/{name.removeprefix(f'{folder}/')}"}


def _as_llava(item: dict[str, Any], vhm_marks: bool) -> dict[str, Any]:
    """The layouts of LHRS-Instruct and the marks of VHM, as LLaVA would write them."""
    if "messages" in item and "conversations" not in item:
        item = {**item, "conversations": item["messages"]}
    if "conversations" not in item:
        turns = item.get("conv")
        if turns is None and "question" in item:
            turns = {"Question": item["question"], "Answer": item.get("answer")}
        if turns is None:
            return item
        messages = []
        for turn in turns if isinstance(turns, list) else [turns]:
            turn = turn if isinstance(turn, dict) else {}
            messages.append({"from": "human", "value": turn.get("Question")})
            messages.append({"from": "gpt", "value": turn.get("Answer", turn.get("value"))})
        name = next((item[key] for key in ("image", "name", "filename", "img") if key in item), None)
        item = {"image": name, "conversations": messages}
    messages = item["conversations"]
    if vhm_marks and isinstance(messages, list) and messages and isinstance(messages[0], dict):
        asked = text_of(messages[0])
        if asked and _VHM.search(asked):
            asked = _VHM.sub(lambda match: _VHM_TAGS.get(match[1], ""), asked, count=1)
            item = {**item, "conversations": [{**messages[0], "value": asked}, *messages[1:]]}
    return item


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
    item: dict[str, Any], texts: list[str], notation: BoxNotation, folder: ImageFolder, where: str
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
    return image_size(folder.find(name, where), where)


def _check_inside(boxes: list[Box | OrientedBox], where: str) -> None:
    for box in boxes:
        upright = box.upright() if isinstance(box, OrientedBox) else box
        leaves = not all(-_EDGE <= v <= 1 + _EDGE for v in upright)
        if isinstance(box, OrientedBox):  # a turned box in a corner of the image reaches out of it
            leaves = upright.clipped().area < 0.5 * upright.area
        if leaves:
            numbers = ", ".join(f"{v:.2f}" for v in upright)
            raise BadRecord("box outside the image", where, f"box ({numbers} in fractions) leaves the image")
