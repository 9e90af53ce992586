"""Boxes in the text of an answer, as numbers: of this project's models, or as another system writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from skyeye.data.geometry.box_text import (
    GEOCHAT,
    NOTATIONS,
    Size,
    compacted,
    find_answer_boxes,
    notation,
    rewritable,
)
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.prompts import PromptStyle
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.box_families import FAMILIES
from skyeye.eval.box_frame import Frame, numbers_in
from skyeye.eval.metrics.sizes import sizes
from skyeye.eval.results import Answer
from skyeye.generation.certainty import certainty

#: In the place of a notation: the answers are looked at.
AUTO = "auto"
_INTEGER = re.compile(r"-?\d+")
#: (text, size of the image or None) -> its boxes, in order: what a prompt style reads, or a notation.
BoxReader = Callable[[str, Size | None], Sequence[Box | OrientedBox]]


def in_notation(name: str | None) -> BoxReader:
    """How the answers of another system are read.

    What is no well-formed box (corners in the wrong order, three numbers) is not taken. Boxes with decimals and upright
    boxes of other notations are cut to the image, as the true ones are; nothing is rounded. An answer without a box in
    the notation is read in this project's.

    Args:
        name: one of :data:`skyeye.data.geometry.box_text.NOTATIONS`, or of
            :data:`skyeye.eval.box_families.FAMILIES`; None: this project's, also with decimals.
            :data:`AUTO` is found out from the answers and their truths (:mod:`skyeye.eval.box_detective`); where that
            cannot tell, it is this project's.

    Raises:
        SkyEyeError: there is no such notation.
    """
    if name not in (None, AUTO) and name not in NOTATIONS and name not in FAMILIES:
        known = ", ".join(dict.fromkeys([*NOTATIONS, *FAMILIES]))
        raise SkyEyeError(f"unknown notation {name!r}", where="boxes", remedy=f"known: {known}, {AUTO}")
    if name in (None, AUTO, "skyeye", "hundredths"):
        return _own
    if name == "geochat":
        return _of_geochat
    if name not in NOTATIONS and (frame := FAMILIES[name].frame) is not None:
        return in_frame(frame)
    other = notation(name)

    def read(text: str, size: Size | None) -> Sequence[Box | OrientedBox]:
        return [box for found in other.find(text, size) for box in _sound(found.boxes)] or _own(text, size)

    return read


def in_frame(frame: Frame) -> BoxReader:
    """How answers are read whose numbers, in brackets or braces of any kind, are meant in a frame.

    Boxes whose corners are in the wrong order are not taken; without the size of the image, where the numbers mean
    nothing without it, none is.
    """

    def read(text: str, size: Size | None) -> Sequence[Box | OrientedBox]:
        if size is None and frame.needs_size:
            return []
        return _sound([frame.read(numbers, size) for numbers in numbers_in(text)])

    return read


def read_answer(text: str, size: Size | None = None, notation: str | None = None) -> Answer:
    """An answer with the boxes that its text names (:func:`in_notation`). The text stays as it is.

    Args:
        size: width and height of the image, in whose pixels an angle is meant; None: it is taken for a square.

    Raises:
        SkyEyeError: unknown notation, or ``pixels`` or ``padded`` without the size.
    """
    return Answer(text, tuple(in_notation(notation)(text, size)))


def read_boxes(records: Sequence[Record], answers: Sequence[Answer], read: BoxReader) -> list[Answer]:
    """Answers with the boxes of their texts; those that come with boxes stay as they are."""
    return [
        replace(answer, boxes=tuple(read(answer.text, size))) if answer.boxes is None else answer
        for answer, size in zip(answers, sizes(records), strict=True)
    ]


def with_certainty(records: Sequence[Record], answers: Sequence[Answer], style: PromptStyle) -> list[Answer]:
    """Answers whose boxes have for their scores the certainty of the tokens that write them, where these were told.

    Args:
        style: of who answered, in which the boxes were read.
    """
    return [
        _scored(answer, style, size) if answer.told and answer.boxes and answer.scores is None else answer
        for answer, size in zip(answers, sizes(records), strict=True)
    ]


def _scored(answer: Answer, style: PromptStyle, size: Size | None) -> Answer:
    own = [certainty(place, answer.told) for _, place in style.placed_boxes(answer.text, size)]
    scores = tuple(value for value in own if value is not None)
    return replace(answer, scores=scores) if len(scores) == len(answer.boxes or ()) else answer


def records_as_shown(records: Sequence[Record]) -> list[Record]:
    """The records without the size that their annotation says of an image, which is not the one that was shown."""
    return [
        replace(record, references={key: value for key, value in record.references.items() if key != "size"})
        for record in records
    ]


def box_of(numbers: Sequence[float]) -> Box | OrientedBox:
    """Four numbers as an upright box, eight as the corners of an oriented one."""
    return OrientedBox(*numbers) if len(numbers) == 8 else Box(*numbers)


def _own(text: str, size: Size | None) -> Sequence[Box | OrientedBox]:
    compact = compacted(text)
    decimals = NOTATIONS["hundredths"].find(compact)
    placed = [(found.start, box) for found in find_answer_boxes(compact, size) for box in found.boxes]
    placed += [(found.start, box) for found in decimals for box in _sound(found.boxes)]
    return [box for _, box in sorted(placed, key=lambda pair: pair[0])]


def _of_geochat(text: str, size: Size | None) -> Sequence[Box | OrientedBox]:
    """Boxes of which those that are not turned have the angle 0; in these, a number below 0 is the border."""
    boxes: list[Box | OrientedBox] = []
    for found in GEOCHAT.find(text, size):
        x1, y1, x2, y2, *angle = map(int, _INTEGER.findall(text[found.start : found.end]))
        if x1 <= x2 and y1 <= y2:
            upright = Box(*(rewritable(max(number, 0) / 100) for number in (x1, y1, x2, y2)))
            boxes.append(found.boxes[0] if any(angle) else upright)
    return boxes


def _sound(boxes: Sequence[Box | OrientedBox]) -> list[Box | OrientedBox]:
    """Without upright boxes whose corners are in the wrong order; the others cut to the image."""
    return [
        box if isinstance(box, OrientedBox) else box.clipped()
        for box in boxes
        if isinstance(box, OrientedBox) or (box.x1 <= box.x2 and box.y1 <= box.y2)
    ]
