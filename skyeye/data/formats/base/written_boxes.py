"""Boxes and marked phrases in the texts of published annotations become :class:`~skyeye.data.record.Mention`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from skyeye.data.geometry.box_text import DELIMITER, BoxNotation, Size
from skyeye.data.record import MARK, Mention

#: How data sets mark words that boxes belong to: SkyEye-968k and GeoChat, Qwen-VL, Qwen2-VL.
_PHRASE = re.compile(
    r"<p>(?P<p>(?:(?!</?p>).)*)</p>"
    r"|<ref>(?P<ref>(?:(?!</?ref>).)*)</ref>"
    r"|<\|object_ref_start\|>(?P<qwen2>(?:(?!<\|object_ref_).)*)<\|object_ref_end\|>",
    re.DOTALL,
)


def read_mentions(text: str, notation: BoxNotation, size: Size | None = None) -> tuple[str, tuple[Mention, ...]]:
    """A text with a mark in the place of boxes and marked phrases, and what they say.

    Boxes side by side (``{..}<delim>{..}``, ``[..;..]``, ``[..], [..]``) are one mention, together with a marked phrase
    right before them. A phrase without boxes behind it is a mention of its own.

    Args:
        notation: how the data set writes boxes.
        size: width and height of the image, where the notation needs it.
    """
    boxes = notation.find(text, size)
    phrases = list(_PHRASE.finditer(text)) if "<" in text else []
    if not boxes and not phrases:
        return text, ()
    pieces: list[str] = []
    mentions: list[Mention] = []
    places = [(found.start, found.end, Mention(found.boxes, found.label)) for found in boxes]
    places += [(match.start(), match.end(), Mention((), match[match.lastindex or 0])) for match in phrases]
    last = 0
    for start, end, mention in sorted(places, key=lambda place: place[0]):
        between = text[last:start]
        before = mentions[-1] if mentions else None
        if before is not None and mention.boxes and mention.phrase is None and _belongs(between, before, notation):
            mentions[-1] = Mention(before.boxes + mention.boxes, before.phrase)
        else:
            pieces += [between, MARK]
            mentions.append(mention)
        last = end
    return "".join(pieces) + text[last:], tuple(mentions)


def write_mentions(text: str, mentions: Sequence[Mention], notation: BoxNotation, size: Size | None = None) -> str:
    """What :func:`read_mentions` reads: the text with boxes and marked phrases in the places of its marks.

    A phrase is marked as Qwen-VL does where boxes are written as points, else as SkyEye-968k and GeoChat do; in JSON it
    is the label of its boxes.

    Raises:
        SkyEyeError: the notation needs the size and there is none.
    """
    first, *rest = text.split(MARK)
    phrase = "<ref>{}</ref>" if notation.form in ("points", "json") else "<p>{}</p>"
    pieces = [first]
    for mention, behind in zip(mentions, rest, strict=True):
        if notation.form == "json" and mention.boxes:
            pieces += [notation.write_labelled(mention.boxes, mention.phrase, size), behind]
            continue
        marked = "" if mention.phrase is None else phrase.format(mention.phrase)
        pieces += [marked, notation.write_list(mention.boxes, size), behind]
    return "".join(pieces)


def _belongs(between: str, before: Mention, notation: BoxNotation) -> bool:
    """Whether boxes go on with the mention before them, over the text between the two."""
    if not before.boxes:
        return between.strip() == ""
    ours = notation.joiner == DELIMITER and not notation.angle
    return between.strip() == DELIMITER if ours else between.strip() in ("", ",", DELIMITER)
