"""Own data: one JSON object per line, with an image and what is asked of it; see docs/own_data.md.

``{"image": "a.jpg", "question": "how many ships are there?", "answer": "2"}``,
``{"image": "a.jpg", "caption": "a harbour"}``,
``{"image": "a.jpg", "boxes": [{"box": [10, 20, 60, 40], "label": "ship"}], "unit": "pixels"}``,
``{"image": "a.jpg", "question": "what is at <box>?", "answer": "a ship", "mentions": [[10, 20, 60, 40]], "unit": ...}``

Boxes in questions and answers are numbers: how a model writes them is the business of its prompt style.

The unit is a question with its answer, a conversation, what :mod:`skyeye.data.formats.captions.base` says of captions,
a box, and a line that is none of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

from skyeye.data.formats.base.image_folder import BESIDE, IMAGE_SUFFIXES, VIDEO_SUFFIXES, ImageFolder, ImageLookup
from skyeye.data.formats.base.json_lines import iter_json_lines
from skyeye.data.formats.base.problems import BadRecord, Problem, as_text, image_size, suggest, with_arguments_of
from skyeye.data.formats.base.splits import Splits, checked_split, split_in
from skyeye.data.formats.base.stated_size import measured_on
from skyeye.data.formats.captions.base import PROMPTS, VIDEO_PROMPTS, caption_records
from skyeye.data.formats.detection.base import MIN_SIDE, Annotated, Labelled, samples_of, turned
from skyeye.data.formats.instructions.llava import parse_llava
from skyeye.data.geometry.box_text import Size
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.geometry.turning import turned_place
from skyeye.data.images.reference import MEMBER, format_reference, parse_reference
from skyeye.data.record import Mention, Record
from skyeye.data.tasks import TASKS
from skyeye.errors import SkyEyeError

ASKED = ("question", "conversation", "caption", "captions", "boxes")
KEYS = (
    *("id", "image", "video", "frames", "split", "task", "meta"),
    *("question", "answer", "mentions", "conversation", "system", "caption", "captions"),
    *("boxes", "unit", "width", "height"),
)
BOX_KEYS = ("box", "polygon", "label", "phrase", "difficult")
UNITS = ("pixels", "normalised")


def _lines(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    unit: str | None = None,
    frames: int = 8,
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[_Line | Problem]:
    """The lines of the file, each with its keys checked.

    Args:
        path: the file.
        images: default: the folder of the file.
        unit: of boxes in lines that do not say it.
        frames: taken of a ``video`` in lines that do not say it, chosen evenly.
        splits, test_fraction: see :class:`~skyeye.data.formats.base.splits.Splits`; a line's own ``split`` decides
            first, then train, val or test in the name of the file.
    """
    path = Path(path)
    if unit not in (None, *UNITS):
        raise SkyEyeError(f"unknown unit {unit!r}", where="options.unit", remedy=suggest(unit, UNITS))
    if path.is_dir():
        raise SkyEyeError("is a folder", where=str(path), remedy="give the file: path: .../my.jsonl")
    folder = images.folder(path.parent, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    rule, named = Splits(None, splits, test_fraction), split_in(path.stem)
    ids: set[str] = set()
    for number, (where, content) in enumerate(iter_json_lines(path)):
        if isinstance(content, BadRecord):
            yield content.problem()
            continue
        try:
            line = _Line(content, where, folder, {"unit": unit, "frames": frames})
            line.id = _id(content, ids, f"{path.stem}:{number}", where)
            line.split = _split(content, named or rule.by_name(line.names[0]), where)
        except BadRecord as error:
            yield error.problem()
            continue
        if split is None or line.split == split:
            yield line


@with_arguments_of(_lines)
def annotated(*arguments: Any, **options: Any) -> Iterator[Annotated | Problem]:
    """The images with their boxes; arguments as for :func:`_lines`. What else is asked is reported as skipped."""
    for line in _lines(*arguments, **options):
        if isinstance(line, Problem):
            yield line
            continue
        for key in ("question", "conversation", "caption", "captions"):
            if key in line.content:
                yield Problem("not about a place", line.where, f"{key} is about the whole image", by_rule=True)
        yield from line.annotated()
        if line.remark:
            yield line.remark


@with_arguments_of(_lines, min_side=MIN_SIDE)
def read(*arguments: Any, min_side: float = MIN_SIDE, **options: Any) -> Iterator[Record | Problem]:
    """Records of every line; arguments as for :func:`_lines`.

    Args:
        min_side: see :data:`skyeye.data.formats.detection.base.MIN_SIDE`.
    """
    for line in _lines(*arguments, **options):
        if isinstance(line, Problem):
            yield line
            continue
        for part in (line.answered, line.conversation, line.captioned):
            try:
                yield from part()
            except BadRecord as error:
                yield error.problem()
        yield from samples_of(line.annotated(), min_side=min_side)
        if line.remark:
            yield line.remark


class _Line:
    """One object of the file, its keys checked; each of the methods gives what one sort of key asks."""

    id: str
    split: str
    remark: Problem | None = None  #: about its picture, once its boxes are read

    def __init__(self, content: dict[str, Any], where: str, folder: ImageFolder, defaults: dict[str, Any]):
        _check_keys(content, KEYS, where)
        self.content, self.where, self.folder = content, where, folder
        self.unit = content.get("unit", defaults["unit"])
        self.frames = content.get("frames", defaults["frames"])
        self.names = _names(content, where)
        self.is_video = "video" in content
        if not any(key in content for key in ASKED):
            missing = "question" if "answer" in content else " / ".join(ASKED)
            raise BadRecord("nothing asked", where, f"has no {missing}")
        self._check_task(content)
        if "task" in content and "question" not in content:
            raise BadRecord("wrong key", where, "task says what a question asks; there is no question in this line")

    def _check_task(self, content: dict[str, Any]) -> None:
        if "task" in content and content["task"] not in list(TASKS):
            known = suggest(str(content["task"]), list(TASKS))
            raise BadRecord("unknown task", self.where, f"task {str(content['task'])[:30]!r}; {known}")

    def answered(self) -> Iterator[Record]:
        if "question" in self.content:
            turns = [{key: self.content.get(key) for key in ("question", "answer", "mentions")}]
            yield self._record("question", turns, self.content.get("task", "vqa"))

    def conversation(self) -> Iterator[Record]:
        if "conversation" not in self.content:
            return
        turns = self.content["conversation"]
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise BadRecord("wrong value", self.where, "conversation is no list of {question, answer}")
        for turn in turns:
            _check_keys(turn, ("question", "answer", "task", "mentions"), f"{self.where}, conversation")
            self._check_task(turn)
        yield self._record("conversation", turns, "conversation")

    def captioned(self) -> Iterator[Record | Problem]:
        captions = []
        if "caption" in self.content:
            captions.append(self.content["caption"])
        if "captions" in self.content:
            if not isinstance(self.content["captions"], list):
                raise BadRecord("wrong value", self.where, "captions is no list; one caption stands in `caption`")
            captions += self.content["captions"]
        elif not captions:
            return
        several = self.is_video or len(self.names) > 1
        yield from caption_records(
            self.names[0],
            captions,
            self.images,
            key=f"{self.id}:caption",
            source="",
            split=self.split,
            where=self.where,
            task="video_caption" if several else "caption",
            prompts=VIDEO_PROMPTS if several else PROMPTS,
        )

    def annotated(self) -> Iterator[Annotated | Problem]:
        if "boxes" not in self.content:
            return
        boxes = self.content["boxes"]
        try:
            if not isinstance(boxes, list):
                raise BadRecord("wrong value", self.where, "boxes is no list")
            if self.is_video or len(self.names) > 1:
                raise BadRecord("wrong key", self.where, "boxes need one image; this line has several")
            (image,) = self.images()
            size, orientation = self._size(image)
        except BadRecord as error:
            yield error.problem(count=max(1, len(boxes) if isinstance(boxes, list) else 1))
            return
        objects = []
        for number, entry in enumerate(boxes):
            try:
                objects.append(_object(entry, f"{self.where}, boxes[{number}]", size))
            except BadRecord as error:
                yield error.problem()
        if not boxes:
            yield Problem("no objects", self.where, "boxes is empty", by_rule=True)
        yield Annotated(image, turned(objects, orientation), self.id, self.split, self.where)

    def images(self) -> tuple[str, ...]:
        """References of the images or of the chosen frames, found in the folder."""
        if self.is_video:
            if not isinstance(self.frames, int) or isinstance(self.frames, bool) or self.frames < 1:
                raise BadRecord("wrong value", self.where, f"frames is not a number above 0: {str(self.frames)[:30]!r}")
            return self.folder.find_frames(self.names[0], self.frames, self.where)
        return tuple(self._find(name) for name in self.names)

    def _find(self, name: str) -> str:
        path, details = parse_reference(name)
        if details.keys() & MEMBER:
            raise BadRecord("missing image", self.where, f"image {name!r} names a place inside a file")
        return format_reference(self.folder.find(path, self.where), **details)

    def _record(self, kind: str, turns: list[dict[str, Any]], task: str) -> Record:
        messages = []
        for turn in turns:
            messages.append({"from": "human", "value": turn.get("question")})
            messages.append({"from": "gpt", "value": turn.get("answer")})
        item = {"image": list(self.names), "conversations": messages, "system": self.content.get("system")}
        images = self.images() if self.is_video else None
        record = parse_llava(
            item,
            self.where,
            id=f"{self.id}:{kind}",
            source="",
            split=self.split,
            task=task,
            find_image=None if images else lambda name, _: self._find(name),
            mentions=[self._mentions(turn.get("mentions")) for turn in turns],
        )
        if len(turns) > 1:
            asked = tuple(
                replace(turn, task=given.get("task", turn.task))
                for turn, given in zip(record.turns, turns, strict=True)
            )
            record = replace(record, turns=asked)
        return record if images is None else replace(record, images=images)

    def _mentions(self, entries: object) -> list[Mention] | None:
        """The boxes of a question with its answer, in the order of their places in the texts; None: not given."""
        if entries is None:
            return None
        if not isinstance(entries, list):
            raise BadRecord("wrong value", self.where, "mentions is no list")
        if self.is_video or len(self.names) > 1:
            raise BadRecord("wrong key", self.where, "mentions need one image; this line has several")
        size, orientation = self._size(self._find(self.names[0]))
        found = [_mention(entry, f"{self.where}, mentions[{number}]", size) for number, entry in enumerate(entries)]
        return [replace(one, boxes=tuple(turned_place(box, orientation) for box in one.boxes)) for one in found]

    def _size(self, image: str) -> tuple[Size, int]:
        """Width and height in the unit of the boxes, and the EXIF turn that they lack."""
        if self.unit not in UNITS:
            given = "no unit" if self.unit is None else f"unit {str(self.unit)[:30]!r}"
            raise BadRecord("no unit", self.where, f"boxes have {given}; write unit: pixels or unit: normalised")
        if "width" not in self.content and "height" not in self.content:
            return ((1, 1) if self.unit == "normalised" else image_size(image, self.where)), 1
        width, height = self.content.get("width"), self.content.get("height")
        if not (_number(width) and _number(height) and width > 0 and height > 0):
            raise BadRecord("wrong value", self.where, f"width and height are not two numbers above 0: {width, height}")
        measured = measured_on(image, (width, height), self.where)
        self.remark = measured.remark
        return ((1, 1) if self.unit == "normalised" else measured.size), measured.orientation


def _mention(entry: object, where: str, size: tuple[float, float]) -> Mention:
    """``[x1, y1, x2, y2]``, eight numbers, a list of such boxes, or ``{phrase, boxes}``."""
    phrase = None
    if isinstance(entry, dict):
        _check_keys(entry, ("phrase", "boxes"), where)
        phrase, entry = as_text(entry.get("phrase")), entry.get("boxes")
    boxes = [entry] if isinstance(entry, list) and entry and not isinstance(entry[0], list) else entry
    if not isinstance(boxes, list) or not (boxes or phrase):
        raise BadRecord("malformed box", where, f"is neither a box nor a list of boxes: {str(entry)[:60]}")
    return Mention(tuple(_place(box, where, size) for box in boxes), phrase)


def _place(numbers: object, where: str, size: tuple[float, float]) -> Box | OrientedBox:
    if isinstance(numbers, list) and len(numbers) == 8:
        return OrientedBox.from_pixels(_numbers(numbers, 8, where), *size)
    box = _upright(numbers, where, size)
    if box.x1 > box.x2 or box.y1 > box.y2:
        raise BadRecord("inverted box", where, f"box {str(numbers)[:60]} has its corners in the wrong order")
    return box


def _upright(numbers: object, where: str, size: tuple[float, float]) -> Box:
    x1, y1, x2, y2 = _numbers(numbers, 4, where)
    return Box.from_pixels(x1, y1, x2, y2, *size)


def _object(entry: object, where: str, size: tuple[float, float]) -> Labelled:
    if not isinstance(entry, dict):
        raise BadRecord("wrong value", where, f"is not {{box, label}} but {str(entry)[:60]!r}")
    _check_keys(entry, BOX_KEYS, where)
    if ("box" in entry) == ("polygon" in entry):
        raise BadRecord("malformed box", where, "needs either box: [x1, y1, x2, y2] or polygon: [x1, y1, ..., x4, y4]")
    name, phrase = as_text(entry.get("label")), as_text(entry.get("phrase"))
    words = name or phrase
    if words is None or None not in (name, phrase):
        raise BadRecord("no label", where, "needs either label (its class) or phrase (words for this one object)")
    difficult = entry.get("difficult", False)
    if not isinstance(difficult, bool):
        raise BadRecord("wrong value", where, f"difficult is not true or false: {str(difficult)[:30]!r}")
    polygon = None
    if "polygon" in entry:
        polygon = OrientedBox.from_pixels(_numbers(entry["polygon"], 8, where), *size)
    box = polygon.upright() if polygon else _upright(entry["box"], where, size)
    return Labelled(words, box, where, difficult, polygon, described=name is None)


def _numbers(value: object, count: int, where: str) -> list[float]:
    if isinstance(value, list) and all(isinstance(point, list) for point in value):
        value = [number for point in value for number in point]  # [[x, y], ...] as well as [x, y, ...]
    if not isinstance(value, list) or len(value) != count or not all(map(_number, value)):
        raise BadRecord("malformed box", where, f"is not a list of {count} numbers: {str(value)[:60]}")
    return value


def _number(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e9 if isinstance(value, int) else math.isfinite(value)


def _names(content: dict[str, Any], where: str) -> list[str]:
    if ("image" in content) == ("video" in content):
        raise BadRecord("no image", where, "needs either image (a file name or a list of them) or video")
    value = content.get("image", content.get("video"))
    names: list[Any] = value if isinstance(value, list) and "image" in content else [value]
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise BadRecord("no image", where, f"image is not a file name: {str(value)[:60]!r}")
    return names


def _id(content: dict[str, Any], known: set[str], default: str, where: str) -> str:
    if "id" not in content:
        return default
    id = as_text(content["id"])
    if id is None:
        raise BadRecord("wrong value", where, f"id is not text or a number: {str(content['id'])[:30]!r}")
    if id in known:
        raise BadRecord("duplicate id", where, f"id {id!r} stands in an earlier line")
    known.add(id)
    return id


def _split(content: dict[str, Any], default: str, where: str) -> str:
    return checked_split(content["split"], where) if "split" in content else default


def _check_keys(content: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in content:
        if key not in known:
            raise BadRecord("unknown key", where, f"unknown key {key[:30]!r}; {suggest(key, known)}")
