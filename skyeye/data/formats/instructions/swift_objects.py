"""Boxes of ms-swift's records: ``objects`` beside the messages, with ``<ref-object>`` and ``<bbox>`` in their texts.

``{"messages": [...], "images": ["a.jpg"], "objects": {"ref": ["ship"], "bbox": [[0.1, 0.2, 0.3, 0.4]], "bbox_type":
"norm1"}}``. The n-th place of either kind, over all texts, is the n-th entry of its list. ``bbox_type`` ``real`` (the
default) means pixels of the image as it is stored, ``norm1`` fractions. Places side by side are one mention.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from skyeye.data.formats.base.problems import BadRecord, as_text
from skyeye.data.formats.instructions.messages import text_of
from skyeye.data.geometry.box_text import Size
from skyeye.data.geometry.boxes import Box
from skyeye.data.record import MARK, Mention

PHRASE, PLACE = "<ref-object>", "<bbox>"
_PLACES = re.compile(rf"{PHRASE}\s*(?:{PLACE}\s*)*{PLACE}|{PHRASE}|{PLACE}(?:\s*{PLACE})*")


@dataclass
class _Objects:
    """The two lists of a record, taken from the front."""

    phrases: list[str]
    boxes: list[Box]

    def mention(self, places: str, where: str) -> Mention:
        count, named = places.count(PLACE), PHRASE in places
        if count > len(self.boxes) or named > len(self.phrases):
            raise BadRecord(
                "malformed box", where, f"its texts have more {PLACE} or {PHRASE} than `objects` has entries"
            )
        boxes, self.boxes = self.boxes[:count], self.boxes[count:]
        return Mention(tuple(boxes), self.phrases.pop(0) if named else None)


def with_objects(
    item: dict[str, Any], where: str, size_of: Callable[[int], Size]
) -> tuple[dict[str, Any], list[list[Mention]]]:
    """The record with a mark in every place of its texts, and the mentions of each question with its answer.

    Args:
        item: with ``conversations`` and ``objects``.
        size_of: number of an image -> its width and height in pixels.

    Raises:
        BadRecord: ``objects`` is no such object, or does not fit the places of the texts.
    """
    objects = _read(item["objects"], where, size_of)
    said: list[Any] = []
    by_message: list[list[Mention]] = []
    for message in item["conversations"]:
        text = text_of(message)
        if text is None or not isinstance(message, dict):
            said.append(message)
            by_message.append([])
            continue
        if MARK in text:
            raise BadRecord("broken character", where, "the text holds U+FFFC, which stands for a box here")
        by_message.append([objects.mention(match[0], where) for match in _PLACES.finditer(text)])
        role = {key: message[key] for key in ("from", "role") if key in message}
        said.append({**role, "value": _PLACES.sub(MARK, text)})
    if objects.boxes or objects.phrases:
        left = f"{len(objects.boxes)} boxes and {len(objects.phrases)} phrases"
        raise BadRecord("malformed box", where, f"`objects` has {left} without a place in the texts")
    roles = [str(message.get("from", message.get("role"))) if isinstance(message, dict) else "" for message in said]
    first = 1 if roles and roles[0].strip().lower() == "system" else 0
    if any(by_message[:first]):
        raise BadRecord("malformed box", where, "the system names a box")
    turns = [list(chain(*by_message[at : at + 2])) for at in range(first, len(by_message), 2)]
    return {**item, "conversations": said}, turns


def _read(objects: Any, where: str, size_of: Callable[[int], Size]) -> _Objects:
    if not isinstance(objects, dict):
        raise BadRecord("malformed box", where, f"`objects` is not an object {{...}} but {str(objects)[:60]!r}")
    lists = [objects.get(key) or [] for key in ("ref", "bbox", "image_id")]
    if not all(isinstance(one, list) for one in lists):
        raise BadRecord("malformed box", where, "`ref`, `bbox` and `image_id` of `objects` are not all lists")
    refs, boxes, shown = lists
    phrases = [text for ref in refs if (text := as_text(ref)) is not None]
    if len(phrases) < len(refs):
        raise BadRecord("malformed box", where, "an entry of `ref` is not text")
    kind = objects.get("bbox_type") or "real"
    if kind not in ("real", "norm1"):
        raise BadRecord("malformed box", where, f"bbox_type {str(kind)[:30]!r} is neither real nor norm1")
    found = []
    for number, numbers in enumerate(boxes):
        image = shown[number] if number < len(shown) and isinstance(shown[number], int) else 0
        found.append(_box(numbers, where, size_of(image) if kind == "real" else (1, 1)))
    return _Objects(phrases, found)


def _box(numbers: Any, where: str, size: Size) -> Box:
    if not _are_four(numbers):
        what = "a point" if isinstance(numbers, Sequence) and len(numbers) == 2 else "no box"
        raise BadRecord("malformed box", where, f"{str(numbers)[:60]} is {what}: [x1, y1, x2, y2] is wanted")
    x1, y1, x2, y2 = numbers
    if x1 > x2 or y1 > y2:
        raise BadRecord("inverted box", where, f"box {str(numbers)[:60]} has its corners in the wrong order")
    return Box.from_pixels(x1, y1, x2, y2, *size)


def _are_four(numbers: Any) -> bool:
    numeric = isinstance(numbers, list) and all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
    return numeric and len(numbers) == 4
