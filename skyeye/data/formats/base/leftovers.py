"""What stands in a text after reading and is not meant to be learnt: signs of a chat template, boxes in a notation that
was not read."""

from __future__ import annotations

import re

from skyeye.data.geometry.box_text import SKYEYE, detect_notation
from skyeye.data.record import Record

#: Markers of images, turns and special tokens; places of PaliGemma, Florence-2 and Kosmos-2.
_TEMPLATE = re.compile(
    r"</?Img>|<ImageHere>|<image>|<video>|\[/?INST\]|</?s>|<unk>|<\|[a-z_]+\|>|<<SYS>>"
    r"|</?(?:box|quad|ref)>|<loc_?\d{1,4}>|<patch_index_\d{1,4}>",
    re.IGNORECASE,
)


def leftover(text: str) -> tuple[str, str] | None:
    """(kind, what stands where) of the first thing that was left in a text; None: nothing.

    ``template leftover`` or ``box left in the text``.
    """
    if "<" not in text and "[" not in text and "{" not in text:
        return None
    if found := _TEMPLATE.search(text):
        at = found.start()
        return "template leftover", f"contains {found[0]}: {text[max(at - 20, 0) : at + 40]!r}"
    name = detect_notation(text)
    if name is not None and name != SKYEYE.name:  # braces are looked at by broken_braces
        return "box left in the text", f"holds numbers that look like a box in {name}: {text[:60]!r}"
    return None


def record_leftovers(record: Record) -> list[tuple[str, str]]:
    """(kind, one sentence) for each text of a record in which something was left."""
    found: list[tuple[str, str]] = []
    for number, turn in enumerate(record.turns, start=1):
        for what, text in (("question", turn.question), ("answer", turn.answer)):
            if left := leftover(text):
                of_turn = f" of turn {number}" if len(record.turns) > 1 else ""
                found.append((left[0], f"the {what}{of_turn} {left[1]}"))
    return found
