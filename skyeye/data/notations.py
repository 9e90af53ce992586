"""How published data sets write boxes in text, and the way from each to each.

============== ============================================= ==========================================
notation       one box                                       numbers
============== ============================================= ==========================================
``skyeye``     ``{<12><34><56><78>}``                        hundredths (MiniGPT-v2, SkyEyeGPT)
``geochat``    ``{<12><34><56><78>|<30>}``                   hundredths before turning, degrees
``fractions``  ``[0.12, 0.34, 0.56, 0.78]``                  0..1 (LHRS-Bot)
``padded``     ``[0.12,0.34,0.56,0.78]``                     0..1 of the image padded to a square (MMRS-1M)
``thousandths`` ``[120, 340, 560, 780]``                     0..1000 (VHM)
``qwen``       ``<box>(120,340),(560,780)</box>``            0..1000 (Qwen-VL)
``pixels``     ``[96, 272, 448, 624]``                       pixels
``hundredths`` ``{<12.34><34.0><56.7><78.9>}``               hundredths with decimals (no data set: for scoring)
============== ============================================= ==========================================

Eight numbers in brackets or with decimals (and four points in Qwen's) are the corners of an oriented box.
docs/data_formats.md says what of this is confirmed, by which source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from skyeye.data.boxes import DELIMITER, Box, OrientedBox, format_box, fraction
from skyeye.errors import SkyEyeError

NOTATIONS = ("skyeye", "geochat", "fractions", "padded", "thousandths", "qwen", "pixels", "hundredths")
#: Notations whose numbers mean nothing without the size of the image.
NEED_SIZE = ("padded", "pixels")
Size = tuple[float, float]
_IN_BRACES = ("skyeye", "geochat", "hundredths")

_N = r"\s*(-?\d{1,9}(?:\.\d{0,12})?|-?\.\d{1,12})\s*"
# No two neighbouring parts may both match a run of blanks: that would take a hostile text the square of its length.
_BRACES = re.compile(r"\{((?:\s*<\s*-?\d{1,9}\s*>){4})(?:\s*\|\s*(?:<\s*)?(-?\d{1,4})(?:\s*>)?)?\s*\}")
_FOUR_OR_EIGHT = rf"{_N},{_N},{_N},{_N}(?:,{_N},{_N},{_N},{_N})?"
_BRACKETS = re.compile(rf"\[(?:\s*\[)?({_FOUR_OR_EIGHT}(?:;{_FOUR_OR_EIGHT})*);?(?:\]\s*)?\]".replace("(-?", "(?:-?"))
_POINT = r"\(\s*-?\d{1,9}\s*,\s*-?\d{1,9}\s*\)"
_QWEN = re.compile(
    rf"<(?:\|box_start\||box|quad)>\s*({_POINT}\s*,\s*{_POINT}(?:\s*,\s*{_POINT}\s*,\s*{_POINT})?)"
    r"\s*<(?:\|box_end\||/box|/quad)>"
)
_FOUR_DECIMALS = r"(?:<-?\d{1,12}\.\d{1,10}>){4}"
_DECIMALS = re.compile(rf"\{{({_FOUR_DECIMALS}(?:{_FOUR_DECIMALS})?)\}}")
_INTEGER = re.compile(r"-?\d+")
_NUMBER = re.compile(r"-?\d*\.?\d+")
_REF = re.compile(r"<ref>((?:(?!</?ref>).)*)</ref>", re.DOTALL)
_QWEN2_REF = re.compile(r"<\|object_ref_start\|>((?:(?!<\|object_ref_).)*)<\|object_ref_end\|>", re.DOTALL)
_P = re.compile(r"<p>((?:(?!</?p>).)*)</p>", re.DOTALL)


@dataclass(frozen=True)
class Found:
    """Boxes written together in a text: one pair of braces, brackets or tags, from ``start`` to ``end``."""

    start: int
    end: int
    boxes: tuple[Box | OrientedBox, ...]


def detect_notation(text: str) -> str | None:
    """The notation of the first box of a text; None without one, or when its numbers have two meanings.

    Whole numbers in brackets could be thousandths or pixels, and fractions of a padded image look like any others:
    ``thousandths``, ``pixels`` and ``padded`` are never guessed.
    """
    matches = [
        (match.start(), name, match) for name, (pattern, _) in _SHAPES.items() if (match := pattern.search(text))
    ]
    if not matches:
        return None
    _, name, match = min(matches, key=lambda found: found[0])
    if name == "braces":
        return "geochat" if match[2] is not None else "skyeye"
    return name if name in ("qwen", "hundredths") or _are_fractions(match[1]) else None


def is_ambiguous(text: str) -> bool:
    """Whether a text holds four or eight numbers in brackets that are no fractions."""
    return any(not _are_fractions(match[1]) for match in _BRACKETS.finditer(text))


def find_boxes(text: str, notation: str, size: Size | None = None) -> list[Found]:
    """Every box of a text that is written in ``notation``, in order.

    Args:
        size: width and height of the image; needed for :data:`NEED_SIZE`, and by ``geochat`` for the angle of boxes in
            images that are not square.

    Raises:
        SkyEyeError: unknown notation, or a size is needed and not given.
    """
    _check(notation, size)
    shape = "braces" if notation in ("skyeye", "geochat") else notation if notation in _SHAPES else "fractions"
    pattern, groups = _SHAPES[shape]
    found = []
    for match in pattern.finditer(text):
        if notation == "skyeye" and match[2] is not None:
            continue
        boxes = tuple(_read(numbers, notation, size) for numbers in groups(match))
        found.append(Found(match.start(), match.end(), boxes))
    return found


def write_box(box: Box | OrientedBox, notation: str, size: Size | None = None) -> str:
    """One box as text; an oriented box becomes the upright one around it where the notation has no other.

    Numbers are rounded to what the notation can hold (``skyeye``: truncated and clipped to the image, as
    :func:`~skyeye.data.boxes.format_box` does), so that reading them again is off by at most that.
    """
    _check(notation, size)
    if notation == "skyeye":
        upright = box.upright() if isinstance(box, OrientedBox) else box
        return format_box([_whole(v) for v in upright])
    if notation == "geochat":
        aspect = size[0] / size[1] if size else 1.0
        oriented = box if isinstance(box, OrientedBox) else OrientedBox.from_box(box)
        cx, cy, width, height, angle = oriented.centre_form(aspect)
        sides = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        return "{" + "".join(f"<{round(v * 100)}>" for v in sides) + f"|<{round(angle)}>}}"
    numbers = list(box)
    if notation == "hundredths":
        return "{" + "".join(f"<{_decimal(v * 100)}>" for v in numbers) + "}"
    if notation == "qwen":
        thousandths = [round(v * 1000) for v in numbers]
        points = ",".join(f"({x},{y})" for x, y in zip(thousandths[::2], thousandths[1::2], strict=True))
        return f"<quad>{points}</quad>" if len(numbers) == 8 else f"<box>{points}</box>"
    if notation == "thousandths":
        return "[" + ", ".join(str(round(v * 1000)) for v in numbers) + "]"
    if notation == "pixels":
        return "[" + ", ".join(str(round(v)) for v in box.to_pixels(*size)) + "]"
    if notation == "padded":
        numbers = [_pad(v, index, size) for index, v in enumerate(numbers)]
    return "[" + ", ".join(f"{v:.2f}" for v in numbers) + "]"


def convert(text: str, source: str, target: str, size: Size | None = None) -> str:
    """A text with its boxes rewritten from one notation into another.

    Several boxes side by side become one list of the target: ``{..}{..}`` and ``[..;..]`` become
    ``{..}<delim>{..}``. Marks around a phrase (``<ref>ship</ref>``) become ``<p>ship</p>``, and back for ``qwen``.
    """
    text = _QWEN2_REF.sub(r"<p>\1</p>", _REF.sub(r"<p>\1</p>", text))
    pieces, last = [], 0
    for found in find_boxes(text, source, size):
        between = text[last : found.start]
        joined = bool(pieces) and between.strip() in ("", ",", DELIMITER)
        boxes = [write_box(box, target, size) for box in found.boxes]
        separator = "" if target == "qwen" else DELIMITER if target in _IN_BRACES else ", "
        if target in _IN_BRACES and between.endswith("</p>"):
            between += " "
        pieces += [separator if joined else between, separator.join(boxes)]
        last = found.end
    rewritten = "".join(pieces) + text[last:]
    return _P.sub(r"<ref>\1</ref>", rewritten) if target == "qwen" else rewritten


def _check(notation: str, size: Size | None) -> None:
    if notation not in NOTATIONS:
        raise SkyEyeError(f"unknown notation {notation!r}", remedy=f"known: {', '.join(NOTATIONS)}")
    if notation in NEED_SIZE and size is None:
        raise SkyEyeError(f"boxes in {notation} need the size of the image", remedy="give width and height")
    if size is not None and not (size[0] > 0 and size[1] > 0):
        raise SkyEyeError(f"image size {size[0]} x {size[1]} has no area", remedy="correct the size")


def _read(numbers: Sequence[float], notation: str, size: Size | None) -> Box | OrientedBox:
    if notation == "skyeye":
        return Box(*(fraction(int(n)) for n in numbers[:4]))
    if notation == "geochat":
        x1, y1, x2, y2 = (n / 100 for n in numbers[:4])
        if len(numbers) == 4:
            return Box(*(fraction(int(n)) for n in numbers))
        aspect = size[0] / size[1] if size else 1.0
        return OrientedBox.from_centre((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, numbers[4], aspect)
    if notation == "hundredths":
        numbers = [n / 100 for n in numbers]
    elif notation in ("qwen", "thousandths"):
        numbers = [n / 1000 for n in numbers]
    elif notation == "pixels":
        numbers = [n / size[index % 2] for index, n in enumerate(numbers)]
    elif notation == "padded":
        numbers = [_unpad(n, index, size) for index, n in enumerate(numbers)]
    return OrientedBox(*numbers) if len(numbers) == 8 else Box(*numbers)


def _whole(value: float) -> float:
    """0.29 as published becomes the fraction that is written as 29; 100 * 0.29 is 28.999... and would be cut to 28."""
    hundredths = round(value * 100)
    return fraction(hundredths) if abs(value * 100 - hundredths) < 1e-6 else value


def _decimal(value: float) -> str:
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


def _braces(match: re.Match[str]) -> Iterable[list[float]]:
    numbers = [int(n) for n in _INTEGER.findall(match[1])]
    yield numbers if match[2] is None else [*numbers, int(match[2])]


def _brackets(match: re.Match[str]) -> Iterable[list[float]]:
    for part in match[1].split(";"):
        yield [float(n) for n in _NUMBER.findall(part)]


def _decimals(match: re.Match[str]) -> Iterable[list[float]]:
    yield [float(n) for n in _NUMBER.findall(match[1])]


def _points(match: re.Match[str]) -> Iterable[list[float]]:
    yield [int(n) for n in _INTEGER.findall(match[1])]


_SHAPES: dict[str, tuple[re.Pattern[str], Callable[[re.Match[str]], Iterable[list[float]]]]] = {
    "braces": (_BRACES, _braces),
    "qwen": (_QWEN, _points),
    "fractions": (_BRACKETS, _brackets),
    "hundredths": (_DECIMALS, _decimals),
}
