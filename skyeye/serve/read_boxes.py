"""Boxes of an answer, read leniently: for display. Scores are of the strict reading (:mod:`skyeye.data.prompts.base`).

What the strict reading takes for a box is one here, too. Besides, corners in the wrong order, a missing brace or
bracket, a phrase that is not closed and numbers that leave the image are read as they were probably meant, and marked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from skyeye.data.geometry.box_text import (
    GEOCHAT,
    NOTATIONS,
    BoxNotation,
    Size,
    compacted_with_places,
    find_answer_boxes,
)
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.prompts import PromptStyle

SWAPPED = "corners swapped"
UNCLOSED = "brace or bracket missing"
OUTSIDE = "reaches outside the image"
OPEN_PHRASE = "phrase not closed"
ODD_NUMBERS = "numbers not as the model writes them"
#: Words before a box that may be its label, where a model does not mark phrases.
LONGEST_LABEL = 6

_BRACE_NUMBER = r"<-?\d{1,9}(?:\.\d{1,10})?(?:>|(?=[<}|]|$))"
_BRACES = re.compile(rf"(\{{?)((?:{_BRACE_NUMBER}){{4,9}})(?:\|<?(-?\d{{1,4}})>?)?(\}}?)")
_N = r"-?(?:\d{1,9}(?:\.\d{0,12})?|\.\d{1,12})"
_FOUR = rf"{_N}(?:\s*,\s*{_N}){{3}}(?:(?:\s*,\s*{_N}){{4}})?"
_BRACKETS = re.compile(rf"(\[)\s*({_FOUR})(?!\s*,\s*-?[\d.])()|()(?<![\d.,\s-])({_FOUR})\s*(\])")
_POINT = rf"\(\s*{_N}\s*,\s*{_N}\s*\)"
_POINTS = re.compile(rf"{_POINT}\s*,?\s*{_POINT}(?:\s*,?\s*{_POINT}\s*,?\s*{_POINT})?")
_NUMBER = re.compile(_N)
_LABEL_ENDS = re.compile(r"[.:;!?\n]\s(?=\s*\w)")
_EDGES = " \t\n,.;:!?-–()[]{}<>\"'"


@dataclass(frozen=True)
class FoundBox:
    """A box in an answer.

    Attributes:
        label: the words that it belongs to; empty: none.
        box: in fractions of the image's sides. An upright one lies in the image; corners of an oriented one may not.
        marks: what of it was read leniently; empty: it is sound.
        span: where it is written in the answer, from the first character to behind the last.
        label_span: where its label is written, with its marks; None: nowhere.
    """

    label: str
    box: Box | OrientedBox
    marks: tuple[str, ...]
    span: tuple[int, int]
    label_span: tuple[int, int] | None = None


def read_leniently(text: str, style: PromptStyle, size: Size) -> list[FoundBox]:
    """Every box of an answer in the order of the text.

    Args:
        size: width and height of the image in pixels.
    """
    found = sorted(_boxes(text, style.boxes, size), key=lambda one: one.span)
    found = [replace(one, box=box, marks=marks) for one in found for box, marks in [_inside(one)]]
    return list(_labelled(text, found, style.phrase))


def lies_outside(found: FoundBox) -> bool:
    """Whether nothing of a box lies in the image."""
    upright = found.box.upright() if isinstance(found.box, OrientedBox) else found.box
    inside = upright.clipped()
    return OUTSIDE in found.marks and (inside.x1 == inside.x2 or inside.y1 == inside.y2)


def _boxes(text: str, notation: BoxNotation, size: Size) -> Iterator[FoundBox]:
    """Sound boxes first; what is left of the text is read leniently."""
    braces = notation.form == "braces"
    compact, places = compacted_with_places(text) if braces else (text, list(range(len(text) + 1)))
    sound = find_answer_boxes(compact, size) if braces else notation.find(compact, size)
    rest = list(compact)
    for one in sound:
        span = places[one.start], places[one.end - 1] + 1
        rest[one.start : one.end] = "\0" * (one.end - one.start)
        for box in one.boxes:
            yield _sorted_corners(box, span, ())
    lenient = {"braces": _in_braces, "brackets": _in_brackets, "points": _in_points}[notation.form]
    for start, end, written, reader, marks in lenient("".join(rest), notation):
        for box in (box for one in reader.find(written, size) for box in one.boxes):
            yield _sorted_corners(box, (places[start], places[end - 1] + 1), marks)


_Candidate = tuple[int, int, str, BoxNotation, tuple[str, ...]]


def _in_braces(text: str, notation: BoxNotation) -> Iterator[_Candidate]:
    """(start, end, how it would be written soundly, the notation of that, marks) of everything like a box."""
    for match in _BRACES.finditer(text):
        numbers = _NUMBER.findall(match[2])
        if len(numbers) not in (4, 8) or (match[3] and len(numbers) == 8):
            continue
        closed = match[1] and match[4] and match[2].count(">") == len(numbers)
        marks: tuple[str, ...] = () if closed else (UNCLOSED,)
        odd = len(numbers) == 8 or any("." in number or len(number.lstrip("-")) > 3 for number in numbers)
        marks += (ODD_NUMBERS,) if odd else ()
        if match[3]:
            x1, y1, x2, y2 = (round(float(number)) for number in numbers)
            marks += (SWAPPED,) if x1 > x2 or y1 > y2 else ()
            sides = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
            written = "{" + "".join(f"<{side}>" for side in sides) + f"|<{match[3]}>}}"
            yield match.start(), match.end(), written, GEOCHAT, marks
            continue
        written = "{" + "".join(f"<{float(number):.10f}>" for number in numbers) + "}"
        yield match.start(), match.end(), written, NOTATIONS["hundredths"], marks


def _in_brackets(text: str, notation: BoxNotation) -> Iterator[_Candidate]:
    for match in _BRACKETS.finditer(text):
        numbers = _NUMBER.findall(match[2] or match[5])
        yield match.start(), match.end(), f"[{', '.join(numbers)}]", notation, (UNCLOSED,)


def _in_points(text: str, notation: BoxNotation) -> Iterator[_Candidate]:
    for match in _POINTS.finditer(text):
        numbers = [round(float(number)) for number in _NUMBER.findall(match[0])]
        points = ",".join(f"({x},{y})" for x, y in zip(numbers[::2], numbers[1::2], strict=True))
        yield match.start(), match.end(), f"<box>{points}</box>", notation, (UNCLOSED,)


def _sorted_corners(box: Box | OrientedBox, span: tuple[int, int], marks: tuple[str, ...]) -> FoundBox:
    if isinstance(box, OrientedBox) or (box.x1 <= box.x2 and box.y1 <= box.y2):
        return FoundBox("", box, marks, span)
    (x1, x2), (y1, y2) = sorted((box.x1, box.x2)), sorted((box.y1, box.y2))
    return FoundBox("", Box(x1, y1, x2, y2), (*marks, SWAPPED), span)


def _inside(found: FoundBox) -> tuple[Box | OrientedBox, tuple[str, ...]]:
    """The part of an upright box in the image; an oriented one stays what it is, as long as its centre is in it."""
    if isinstance(found.box, OrientedBox):
        x, y = (sum(values) / 4 for values in zip(*found.box.corners, strict=True))
        return found.box, found.marks if 0 <= x <= 1 and 0 <= y <= 1 else (*found.marks, OUTSIDE)
    inside = found.box.clipped()
    return inside, found.marks if inside == found.box else (*found.marks, OUTSIDE)


def _labelled(text: str, found: list[FoundBox], phrase: str) -> Iterator[FoundBox]:
    before = FoundBox("", Box(0, 0, 0, 0), (), (0, 0))
    for one in found:
        if phrase != "{}":
            one = _with_phrase(text, one, found, phrase)
        elif one.span != before.span:
            one = _with_words(text, one, before)
        else:
            one = replace(one, label=before.label, label_span=before.label_span)
        yield (before := one)


def _with_phrase(text: str, one: FoundBox, found: list[FoundBox], phrase: str) -> FoundBox:
    """The words of the last phrase that was opened before the box."""
    opening, closing = (part.strip() for part in phrase.split("{}"))
    start = text.rfind(opening, 0, one.span[0])
    if start < 0:
        return one
    first = start + len(opening)
    end = text.find(closing, first, one.span[0])
    if end >= 0:
        return replace(one, label=text[first:end].strip(), label_span=(start, end + len(closing)))
    end = min(other.span[0] for other in found if other.span[0] >= first)
    marks = (*one.marks, OPEN_PHRASE)
    return replace(one, label=text[first:end].strip(), label_span=(start, end), marks=marks)


def _with_words(text: str, one: FoundBox, before: FoundBox) -> FoundBox:
    """The few words before a box, where a family does not mark phrases; behind another box, its words."""
    start = before.span[1]
    words = text[start : one.span[0]]
    if ends := [match.end() for match in _LABEL_ENDS.finditer(words)]:
        start, words = start + ends[-1], words[ends[-1] :]
    label = re.sub(r"<[^<>]*>$", "", words.rstrip()).strip(_EDGES)
    if not label or label.lower() in ("and", "or"):
        return replace(one, label=before.label, label_span=before.label_span)
    label = label.removeprefix("and ").strip(_EDGES)
    if len(label.split()) > LONGEST_LABEL:
        return one
    start += words.find(label)
    return replace(one, label=label, label_span=(start, start + len(label)))
