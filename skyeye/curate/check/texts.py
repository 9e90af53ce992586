"""What is wrong in the words, numbers and boxes of one record that its reader let pass."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from skyeye.data.formats.base.leftovers import record_leftovers
from skyeye.data.geometry.box_text import broken_braces
from skyeye.data.record import Record

_TAG = re.compile(r"\s*\[[A-Za-z][\w -]*\]\s*")
#: Half of a character, which JSON can spell (``\ud800``) and no tokenizer takes.
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PHRASE_SIGN = re.compile(r"<(/?)p>")


def text_findings(record: Record) -> Iterator[tuple[str, str]]:
    """(kind, one sentence) of everything wrong in the turns, references and regions of a record."""
    for number, turn in enumerate(record.turns, start=1):
        of_turn = f" of turn {number}" if len(record.turns) > 1 else ""
        if not turn.answer.strip():
            yield "empty answer", f"the answer{of_turn} is empty"
        if not _TAG.sub("", turn.question, count=1).strip():
            yield "empty question", f"the question{of_turn} is {turn.question!r}"
        for what, text in (("question", turn.question), ("answer", turn.answer)):
            for kind, sentence in _in_text(text):
                yield kind, f"the {what}{of_turn} {sentence}"
    yield from record_leftovers(record)
    boxes = record.references.get("boxes") or []
    for box in [*boxes, *(region.box for region in record.regions)]:
        yield from _in_fractions(box)
    if not record.turns:
        yield "empty answer", "the record has no turns"


def _in_text(text: str) -> Iterator[tuple[str, str]]:
    if LONE_SURROGATE.search(text):
        yield "broken character", f"contains half of a character (a lone surrogate): {text[:60]!a}"
    if not _balanced(text):
        yield "unbalanced phrase", f"opens and closes <p> unevenly: {_excerpt(text, max(text.find('<p>'), 0))}"
    for kind, what in broken_braces(text):
        yield kind, f"holds a box: {what}"


def _in_fractions(box: object) -> Iterator[tuple[str, str]]:
    try:
        numbers = [float(value) for value in box]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) < 4 or not all(map(math.isfinite, numbers)):
        yield "malformed box", f"a reference box is {str(box)[:60]}"
        return
    if not all(0 <= value <= 1 for value in numbers[:4]):
        yield "box outside the image", f"a reference box leaves 0..1: {_numbers(numbers)}"
    if numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        yield "inverted box", f"a reference box has its corners in the wrong order: {_numbers(numbers)}"


def _balanced(text: str) -> bool:
    is_open = False
    for sign in _PHRASE_SIGN.finditer(text):
        if bool(sign[1]) != is_open:
            return False
        is_open = not sign[1]
    return not is_open


def _excerpt(text: str, at: int) -> str:
    return repr(text[max(at - 20, 0) : at + 40])


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values[:4])
