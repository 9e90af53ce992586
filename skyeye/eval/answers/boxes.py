"""Boxes in the text of an answer, as numbers: of this project's models, or as another system writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from skyeye.data.boxes import Box, OrientedBox, fraction, parse_boxes
from skyeye.data.notations import NOTATIONS, Size, find_boxes
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.metrics.sizes import sizes
from skyeye.eval.results import Answer

_INTEGER = re.compile(r"-?\d+")


def read_answer(text: str, size: Size | None = None, notation: str | None = None) -> Answer:
    """An answer with the boxes that its text names, in order. The text stays as it is.

    By default a box is ``{<x1><y1><x2><y2>}``, or GeoChat's form with an angle behind it, or either with decimals.
    What is no well-formed box (corners in the wrong order, three numbers) is not taken. The numbers before an angle may
    leave the image: they are those of the box before it is turned. Boxes with decimals and upright boxes of other
    notations are cut to the image, as the true ones are; nothing is rounded. An answer without a box in the notation is
    read in this project's.

    Args:
        size: width and height of the image, in whose pixels an angle is meant; None: it is taken for a square.
        notation: one of :data:`skyeye.data.notations.NOTATIONS`; None: this project's.

    Raises:
        SkyEyeError: unknown notation, or ``pixels`` or ``padded`` without the size.
    """
    if notation in (None, "skyeye"):
        boxes = _own(text, size)
    elif notation == "geochat":
        boxes = _of_geochat(text, size)
    else:
        boxes = [box for found in find_boxes(text, notation, size) for box in _sound(found.boxes)] or _own(text, size)
    return Answer(text, tuple(boxes))


def read_boxes(records: Sequence[Record], answers: Sequence[Answer], notation: str | None = None) -> list[Answer]:
    """Answers with the boxes of their texts; those that come with boxes stay as they are."""
    return [
        replace(answer, boxes=read_answer(answer.text, size, notation).boxes) if answer.boxes is None else answer
        for answer, size in zip(answers, sizes(records), strict=True)
    ]


def check_notation(notation: str | None) -> None:
    """
    Raises:
        SkyEyeError: there is no such notation.
    """
    if notation is not None and notation not in NOTATIONS:
        raise SkyEyeError(f"unknown notation {notation!r}", where="boxes", remedy=f"known: {', '.join(NOTATIONS)}")


def box_of(numbers: Sequence[float]) -> Box | OrientedBox:
    """Four numbers as an upright box, eight as the corners of an oriented one."""
    return OrientedBox(*numbers) if len(numbers) == 8 else Box(*numbers)


def _own(text: str, size: Size | None) -> list[Box | OrientedBox]:
    compact = re.sub(r"<unk>|\s", "", text)
    placed: list[tuple[int, Box | OrientedBox]] = []
    for found in find_boxes(compact, "geochat", size):
        written = compact[found.start : found.end]
        x1, y1, x2, y2, *angle = map(int, _INTEGER.findall(written))
        if (x1 <= x2 and y1 <= y2) if angle else parse_boxes(written):
            placed.append((found.start, found.boxes[0]))
    for found in find_boxes(compact, "hundredths"):
        placed += [(found.start, box) for box in _sound(found.boxes)]
    return [box for _, box in sorted(placed, key=lambda pair: pair[0])]


def _of_geochat(text: str, size: Size | None) -> list[Box | OrientedBox]:
    """Boxes of which those that are not turned have the angle 0; in these, a number below 0 is the border."""
    boxes: list[Box | OrientedBox] = []
    for found in find_boxes(text, "geochat", size):
        x1, y1, x2, y2, *angle = map(int, _INTEGER.findall(text[found.start : found.end]))
        if x1 <= x2 and y1 <= y2:
            upright = Box(*(fraction(max(number, 0)) for number in (x1, y1, x2, y2)))
            boxes.append(found.boxes[0] if any(angle) else upright)
    return boxes


def _sound(boxes: Sequence[Box | OrientedBox]) -> list[Box | OrientedBox]:
    """Without upright boxes whose corners are in the wrong order; the others cut to the image."""
    return [
        box if isinstance(box, OrientedBox) else box.clipped()
        for box in boxes
        if isinstance(box, OrientedBox) or (box.x1 <= box.x2 and box.y1 <= box.y2)
    ]
