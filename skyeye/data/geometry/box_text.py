"""Boxes in text: how each model and data set of the field writes them, and reading them back.

============== ============================================= ==========================================
notation       one box                                       numbers
============== ============================================= ==========================================
``skyeye``     ``{<12><34><56><78>}``                        hundredths, cut (MiniGPT-v2, SkyEyeGPT)
``geochat``    ``{<12><34><56><78>|<30>}``                   hundredths before turning, degrees
``fractions``  ``[0.12, 0.34, 0.56, 0.78]``                  0..1 (LHRS-Bot)
``padded``     ``[0.12, 0.34, 0.56, 0.78]``                  0..1 of the image padded to a square (MMRS-1M)
``thousandths`` ``[120, 340, 560, 780]``                     0..1000
``vhm``         ``[120,340,560,780]``                        0..1000 (VHM)
``bbox``       ``<bbox>[0.12,0.34,0.56,0.78]</bbox>``       0..1 (LHRS-Bot-Nova)
``qwen``       ``<box>(120,340),(560,780)</box>``            0..1000 (Qwen-VL)
``pixels``     ``[96, 272, 448, 624]``                       pixels
``hundredths`` ``{<12.34><34.0><56.7><78.9>}``               hundredths with decimals (no data set: for scoring)
``braces_1000`` ``{<120><340><560><780>}``                   0..1000 (UAVBench, as its readers say)
``bbox_2d``     ``[{"bbox_2d": [120, 340, 560, 780]}]``      0..1000 (Qwen3-VL)
``qwen25``      the same                                      pixels of the image as Qwen2.5-VL resizes it
============== ============================================= ==========================================

Eight numbers in brackets or with decimals (and four points in Qwen's) are the corners of an oriented box.
docs/data_formats.md says what of this is confirmed, by which source.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.errors import SkyEyeError

#: Width and height of an image in pixels.
Size = tuple[float, float]


@dataclass(frozen=True)
class BoxNotation:
    """One way of writing boxes.

    Attributes:
        form: ``braces`` ``{<n><n><n><n>}``, ``brackets`` ``[n, n, n, n]``, ``points`` ``<box>(n,n),(n,n)</box>`` or
            ``json``, a list of objects with the words that boxes belong to as their label.
        scale: the number of a whole image side; None: its pixels.
        digits: behind the point; None: as many as the value has.
        truncated: digits that are not written are cut off, not rounded (the reference).
        clip: numbers that leave the image are written as its border (those before an angle may leave it).
        corners: an oriented box is written by its eight corners; otherwise as the upright box around it.
        angle: every box is written before it is turned, with its angle in degrees behind it.
        padded: numbers are those of the image padded to a square.
        joiner: between the boxes of a list.
        comma: between the numbers in brackets.
        tag: what stands in ``<>`` around the brackets; None: nothing.
        resized: pixels are those of the image as Qwen2.5-VL reads it.
    """

    name: str
    form: Literal["braces", "brackets", "points", "json"]
    scale: float | None
    digits: int | None = 0
    truncated: bool = False
    clip: bool = False
    corners: bool = True
    angle: bool = False
    padded: bool = False
    joiner: str = ", "
    comma: str = ", "
    tag: str | None = None
    resized: bool = False

    @property
    def needs_size(self) -> bool:
        """Whether the numbers mean nothing without the size of the image."""
        return self.padded or self.scale is None

    def write(self, box: Box | OrientedBox, size: Size | None = None) -> str:
        """One box as text.

        Args:
            size: width and height of the image; needed where :attr:`needs_size`, and by an angle in an image that is
                not square.

        Raises:
            SkyEyeError: a size is needed and not given.
        """
        sides = self._sides(size)
        if self.angle:
            return self._write_turned(box, sides)
        if isinstance(box, OrientedBox) and not self.corners:
            box = box.upright()
        values = [min(max(value, 0.0), 1.0) for value in box] if self.clip else box
        numbers = [self._number(value, index, sides) for index, value in enumerate(values)]
        if self.form == "braces":
            return "{" + "".join(f"<{number}>" for number in numbers) + "}"
        if self.form == "json":
            return f'{{"bbox_2d": [{self.comma.join(numbers)}]}}'
        if self.form == "brackets":
            text = f"[{self.comma.join(numbers)}]"
            return text if self.tag is None else f"<{self.tag}>{text}</{self.tag}>"
        points = ",".join(f"({x},{y})" for x, y in zip(numbers[::2], numbers[1::2], strict=True))
        return f"<quad>{points}</quad>" if len(numbers) == 8 else f"<box>{points}</box>"

    def write_list(self, boxes: Iterable[Box | OrientedBox], size: Size | None = None) -> str:
        """Several boxes, joined."""
        if self.form == "json":
            return self.write_labelled(boxes, None, size)
        return self.joiner.join(self.write(box, size) for box in boxes)

    def write_labelled(self, boxes: Iterable[Box | OrientedBox], label: str | None, size: Size | None = None) -> str:
        """Boxes in the form ``json`` with the words that they belong to."""
        said = "" if label is None else f', "label": {json.dumps(label, ensure_ascii=False)}'
        objects = [self.write(box, size)[:-1] + said + "}" for box in boxes]
        return f"[{', '.join(objects)}]" if objects else ""

    def find(self, text: str, size: Size | None = None) -> list[BoxesInText]:
        """Every place of a text where boxes stand in this notation, in order.

        Raises:
            SkyEyeError: a size is needed and not given.
        """
        sides = self._sides(size)
        if self.form == "json":
            return [found for match in _JSON.finditer(text) for found in self._in_json(match, sides)]
        decimals = self.form == "braces" and self.digits is None
        pattern = _DECIMALS if decimals else _PATTERNS[self.form]
        found = []
        for match in pattern.finditer(text):
            if self.form == "braces" and not decimals:
                if match[2] is not None and not self.angle:
                    continue
                groups: list[list[float]] = [[*_numbers(match[1]), *([float(match[2])] if match[2] else [])]]
            else:
                groups = [_numbers(part) for part in match[1].split(";")]
            boxes = tuple(self._box(numbers, sides) for numbers in groups)
            found.append(BoxesInText(*self._through_tag(text, match.start(), match.end()), boxes))
        return found

    def _in_json(self, match: re.Match[str], sides: Size) -> Iterator[BoxesInText]:
        """The boxes of a list, those of one label that follow each other together."""
        objects = list(_OBJECT.finditer(match[0]))
        for label, group in itertools.groupby(objects, lambda one: one[2]):
            members = list(group)
            start = match.start() if members[0] is objects[0] else match.start() + members[0].start()
            end = match.end() if members[-1] is objects[-1] else match.start() + members[-1].end()
            boxes = tuple(self._box(_numbers(one[1]), sides) for one in members)
            yield BoxesInText(start, end, boxes, None if label is None else json.loads(label, strict=False))

    def _through_tag(self, text: str, start: int, end: int) -> tuple[int, int]:
        """Where a box ends that stands from ``start`` to ``end``, its tag included."""
        opening, closing = f"<{self.tag}>", f"</{self.tag}>"
        if self.tag is None or not (text[:start].endswith(opening) and text.startswith(closing, end)):
            return start, end
        return start - len(opening), end + len(closing)

    def _sides(self, size: Size | None) -> Size:
        """The size, checked; an image whose size is neither known nor needed is taken for a square."""
        if self.needs_size and size is None:
            raise SkyEyeError(f"boxes in {self.name} need the size of the image", remedy="give width and height")
        if size is not None and not (size[0] > 0 and size[1] > 0):
            raise SkyEyeError(f"image size {size[0]} x {size[1]} has no area", remedy="correct the size")
        if size is not None and self.resized:
            from skyeye.data.images.smart_resize import SmartResize  # which knows sizes from here

            return SmartResize()(size)
        return size or (1.0, 1.0)

    def _whole(self, index: int, size: Size) -> float:
        """The number of a whole side."""
        return size[index % 2] if self.scale is None else self.scale

    def _number(self, value: float, index: int, size: Size) -> str:
        """A fraction of the image's width (even ``index``) or height as it is written."""
        if self.padded:
            value = _pad(value, index, size)
        scaled = value * self._whole(index, size)
        if self.digits is None:
            return _shortest(scaled)
        if self.digits:
            return f"{scaled:.{self.digits}f}"
        return str(int(scaled) if self.truncated else round(scaled))

    def _write_turned(self, box: Box | OrientedBox, size: Size) -> str:
        oriented = box if isinstance(box, OrientedBox) else OrientedBox.from_box(box)
        cx, cy, width, height, angle = oriented.centre_form(size[0] / size[1])
        sides = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        numbers = "".join(f"<{self._number(value, index, size)}>" for index, value in enumerate(sides))
        return f"{{{numbers}|<{round(angle)}>}}"

    def _box(self, numbers: Sequence[float], size: Size) -> Box | OrientedBox:
        if len(numbers) == 5:
            x1, y1, x2, y2 = (n / self._whole(index, size) for index, n in enumerate(numbers[:4]))
            return OrientedBox.from_centre(
                (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, numbers[4], size[0] / size[1]
            )
        values = [n / self._whole(index, size) for index, n in enumerate(numbers)]
        if self.padded:
            values = [_unpad(value, index, size) for index, value in enumerate(values)]
        if self.digits is None:  # a number that is nearly whole here is not a rounded one
            values = [rewritable(v) if n.is_integer() else v for v, n in zip(values, numbers, strict=True)]
        else:
            values = [rewritable(value) for value in values]
        return OrientedBox(*values) if len(values) == 8 else Box(*values)


@dataclass(frozen=True)
class BoxesInText:
    """Boxes written together: one pair of braces, brackets or tags, from ``start`` to ``end``; in the form ``json``
    with their label."""

    start: int
    end: int
    boxes: tuple[Box | OrientedBox, ...]
    label: str | None = None


DELIMITER = "<delim>"
HUNDREDTHS = 100
SMALLEST = 3  # thousandths or pixels: no one marks less than that
SKYEYE = BoxNotation("skyeye", "braces", HUNDREDTHS, truncated=True, clip=True, corners=False, joiner=DELIMITER)
GEOCHAT = BoxNotation("geochat", "braces", 100, angle=True, joiner=DELIMITER)
NOTATIONS: dict[str, BoxNotation] = {
    notation.name: notation
    for notation in (
        SKYEYE,
        GEOCHAT,
        BoxNotation("fractions", "brackets", 1, digits=2),
        BoxNotation("padded", "brackets", 1, digits=2, padded=True),
        BoxNotation("thousandths", "brackets", 1000),
        BoxNotation("vhm", "brackets", 1000, comma=","),
        BoxNotation("bbox", "brackets", 1, digits=2, comma=",", tag="bbox"),
        BoxNotation("qwen", "points", 1000, joiner=""),
        BoxNotation("pixels", "brackets", None),
        BoxNotation("hundredths", "braces", 100, digits=None, joiner=DELIMITER),
        BoxNotation("braces_1000", "braces", 1000, corners=False, joiner=DELIMITER),
        BoxNotation("bbox_2d", "json", 1000, corners=False),
        BoxNotation("qwen25", "json", None, corners=False, resized=True),
    )
}

#: Notations that :func:`detect_notation` tells apart.
DETECTED = ("skyeye", "geochat", "fractions", "qwen", "hundredths")

_N = r"\s*-?(?:\d{1,9}(?:\.\d{0,12})?|\.\d{1,12})\s*"
# No two neighbouring parts may both match a run of blanks: that would take a hostile text the square of its length.
_BRACES = re.compile(r"\{((?:\s*<\s*-?\d{1,9}\s*>){4})(?:\s*\|\s*(?:<\s*)?(-?\d{1,4})(?:\s*>)?)?\s*\}")
_FOUR_OR_EIGHT = rf"{_N},{_N},{_N},{_N}(?:,{_N},{_N},{_N},{_N})?"
_BRACKETS = re.compile(rf"\[(?:\s*\[)?({_FOUR_OR_EIGHT}(?:;{_FOUR_OR_EIGHT})*);?(?:\]\s*)?\]")
_POINT = r"\(\s*-?\d{1,9}\s*,\s*-?\d{1,9}\s*\)"
_POINTS = re.compile(
    rf"<(?:\|box_start\||box|quad)>\s*({_POINT}\s*,\s*{_POINT}(?:\s*,\s*{_POINT}\s*,\s*{_POINT})?)"
    r"\s*<(?:\|box_end\||/box|/quad)>"
)
_FOUR_DECIMALS = r"(?:<-?\d{1,12}\.\d{1,10}>){4}"
_DECIMALS = re.compile(rf"\{{({_FOUR_DECIMALS}(?:{_FOUR_DECIMALS})?)\}}")
_PATTERNS = {"braces": _BRACES, "brackets": _BRACKETS, "points": _POINTS}
_LABEL = r'"(?:[^"\\\n]|\\.){0,1000}"'
_OBJECT = re.compile(rf'\{{\s*"bbox_2d"\s*:\s*\[({_N},{_N},{_N},{_N})\]\s*(?:,\s*"label"\s*:\s*({_LABEL})\s*)?\}}')
_JSON = re.compile(rf"\[\s*{_OBJECT.pattern}(?:\s*,\s*{_OBJECT.pattern})*\s*\]|{_OBJECT.pattern}")
_NUMBER = re.compile(r"-?\d*\.?\d+")
_CHOICES = re.compile(r"\b(?:options|choices|candidates|answers|choose|select|one of)\b[^.?!\[\]]*$", re.IGNORECASE)
_IN_BRACES = re.compile(r"\{([^{}]*)\}")
_MEANT = re.compile(r"^\s*<\s*-?\d|\d\s*>\s*<\s*-?\d")
_FOUR_NUMBERS = re.compile(r"\s*(?:<\s*-?\d{1,9}\s*>\s*){4}")
_SKIPPED = re.compile(r"<unk>|\s+")
_IN_ANSWER = re.compile(r"\{<\d{1,3}><\d{1,3}><\d{1,3}><\d{1,3}>\}")


def notation(name: str) -> BoxNotation:
    """The notation of that name.

    Raises:
        SkyEyeError: there is none.
    """
    if name not in NOTATIONS:
        raise SkyEyeError(f"unknown notation {name!r}", remedy=f"known: {', '.join(NOTATIONS)}")
    return NOTATIONS[name]


def detect_notation(text: str) -> str | None:
    """The notation of the first box of a text; None without one, or when its numbers have two meanings.

    Whole numbers in brackets could be thousandths or pixels, and fractions of a padded image look like any others:
    ``thousandths``, ``pixels`` and ``padded`` are never guessed.
    """
    patterns = {"braces": _BRACES, "qwen": _POINTS, "fractions": _BRACKETS, "hundredths": _DECIMALS}
    matches = [(match.start(), name, match) for name, pattern in patterns.items() if (match := pattern.search(text))]
    if not matches:
        return None
    _, name, match = min(matches, key=lambda found: found[0])
    if name == "braces":
        return "geochat" if match[2] is not None else "skyeye"
    return name if name in ("qwen", "hundredths") or _are_fractions(match[1]) else None


def is_ambiguous(text: str) -> bool:
    """Whether a text holds four or eight numbers in brackets that are no fractions and may be a box.

    Choices are none (``Options: [10, 20, 30, 40]``), and neither are whole numbers that would be a box of less than
    :data:`SMALLEST` thousandths or pixels (``[1, 2, 3, 4]``).
    """
    return any(
        not _are_fractions(match[1])
        and _may_be_box(match[1])
        and not _CHOICES.search(text[max(0, match.start() - 40) : match.start()])
        for match in _BRACKETS.finditer(text)
    )


def _may_be_box(text: str) -> bool:
    numbers = _numbers(text)
    return "." in text or all(max(side) - min(side) >= SMALLEST for side in (numbers[::2], numbers[1::2]))


def broken_braces(text: str) -> Iterator[tuple[str, str]]:
    """(kind, what is wrong) of everything in braces that is meant as a box of hundredths and is none.

    Braces are meant as a box where they open with a number in ``<>`` or hold two side by side. Any others are words:
    ``{"count": <n>}``.
    """
    for inside in _IN_BRACES.findall(text):
        if not _MEANT.search(inside):
            continue
        if not _FOUR_NUMBERS.fullmatch(inside):
            yield "malformed box", f"{{{inside[:60]}}} is not a box {{<x1><y1><x2><y2>}}"
            continue
        x1, y1, x2, y2 = map(int, re.findall(r"-?\d+", inside))
        if not all(0 <= n <= 100 for n in (x1, y1, x2, y2)):
            yield "box outside the image", f"box {{{inside}}} leaves 0..100"
        if x1 > x2 or y1 > y2:
            yield "inverted box", f"box {{{inside}}} has its corners in the wrong order"


def read_answer_boxes(text: str, size: Size | None = None) -> list[Box | OrientedBox]:
    """Every well-formed box of a model's answer, in order: ``{<x1><y1><x2><y2>}``, or GeoChat's with an angle behind.

    Spaces and ``<unk>`` inside are ignored as in the reference. Anything else (three numbers, four digits, a missing
    brace, corners in the wrong order) is not a box. The four numbers before an angle may leave the image: they are
    those of the box before it is turned.

    Args:
        size: width and height of the image, in whose pixels the angle is meant; None: the image is taken for a square.
    """
    return [box for found in find_answer_boxes(compacted(text), size) for box in found.boxes]


def find_answer_boxes(compact: str, size: Size | None = None) -> list[BoxesInText]:
    """Where the boxes of :func:`read_answer_boxes` stand in a :func:`compacted` answer."""
    sound = []
    for found in GEOCHAT.find(compact, size):
        written = compact[found.start : found.end]
        x1, y1, x2, y2 = _numbers(written)[:4]
        if (x1 <= x2 and y1 <= y2) and ("|" in written or _IN_ANSWER.fullmatch(written)):
            sound.append(found)
    return sound


def compacted(answer: str) -> str:
    """An answer without spaces and ``<unk>``, as the reference reads it."""
    return _SKIPPED.sub("", answer)


def compacted_with_places(text: str) -> tuple[str, list[int]]:
    """A :func:`compacted` text, and where each of its characters, and the end of the text, stood."""
    kept: list[int] = []
    end = 0
    for match in _SKIPPED.finditer(text):
        kept += range(end, match.start())
        end = match.end()
    kept += range(end, len(text))
    return "".join(text[place] for place in kept), [*kept, len(text)]


def rewritable(value: float) -> float:
    """A fraction that was published in hundredths, so that :data:`SKYEYE`, which cuts digits off, writes the same.

    29 / 100 * 100 is 28.999999999999996 and would be written as 28: it becomes the next number above.
    """
    hundredths = round(value * 100)
    if abs(value * 100 - hundredths) >= 1e-6:
        return value
    value = hundredths / 100
    return value if int(value * 100) == hundredths else math.nextafter(value, math.inf)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER.findall(text)]


def _shortest(value: float) -> str:
    """With as many digits as a value that was written has: an overlap of exactly one half must stay that."""
    text = f"{value:.10f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _pad(value: float, index: int, size: Size) -> float:
    """A fraction of the image as the fraction of the image padded to a square; even ``index``: x, odd: y."""
    side, longest = size[index % 2], max(size)
    return (value * side + int((longest - side) / 2)) / longest


def _unpad(value: float, index: int, size: Size) -> float:
    side, longest = size[index % 2], max(size)
    return (value * longest - int((longest - side) / 2)) / side


def _are_fractions(text: str) -> bool:
    numbers = _NUMBER.findall(text)
    return any("." in number for number in numbers) and all(-0.01 <= float(number) <= 1.01 for number in numbers)
