"""Referring expressions: one expression and the one box it denotes become a ``refer`` or ``identify`` sample."""

from __future__ import annotations

from skyeye.data.formats.base.problems import BadRecord, pick
from skyeye.data.formats.detection.base import IDENTIFY_PROMPTS, REFER_PROMPTS
from skyeye.data.geometry.boxes import Box
from skyeye.data.record import MARK, Mention, Record, Region, Turn


def refer_record(
    image: str,
    expression: str,
    box: Box,
    size: tuple[float, float],
    *,
    id: str,
    source: str,
    split: str,
    where: str,
    task: str = "refer",
) -> Record:
    """A sample that asks where the expression is and answers with its box; or the other way round.

    Args:
        image: path of the image.
        expression: as annotated; a final full stop goes and a capital at the start of a sentence becomes small, since
            the words end up inside a question.
        box: in fractions of the image.
        size: width and height of the image in pixels, for scores that are defined in pixels.
        task: ``"refer"``, or ``"identify"`` to ask for the expression of the box.

    Raises:
        BadRecord: no expression; the box is inverted, smaller than a pixel, or less than half of it is in the image.
    """
    phrase = _inside_a_question(expression)
    if not phrase:
        raise BadRecord("no question", where, "the referring expression is empty")
    if not (box.x1 < box.x2 and box.y1 < box.y2):
        raise BadRecord("inverted box", where, f"box of {phrase[:60]!r} has no area or inverted corners")
    if (box.x2 - box.x1) * size[0] < 1 and (box.y2 - box.y1) * size[1] < 1:
        what = f"box of {phrase[:60]!r} is smaller than a pixel: fractions where pixels are expected?"
        raise BadRecord("malformed box", where, what)
    inside = box.clipped()
    if inside.area < 0.5 * box.area:
        raise BadRecord("box outside the image", where, f"less than half of {phrase[:60]!r} is in the image")
    prompts = IDENTIFY_PROMPTS if task == "identify" else REFER_PROMPTS
    prompt = pick(prompts, id) if split == "train" else prompts[0]
    given, answer = (MARK, phrase) if task == "identify" else (phrase, MARK)
    truths = {"captions": [phrase]} if task == "identify" else {}
    return Record(
        id=id,
        source=source,
        task=task,
        split=split,
        images=(image,),
        where=where,
        turns=(Turn(prompt.replace("{}", given), answer, task, (Mention((box,)),)),),
        references={"boxes": [list(inside)], "phrase": phrase, "size": list(size), **truths},
        regions=(Region(inside.as_tuple(), phrase),),
    )


def _inside_a_question(expression: str) -> str:
    words = " ".join(expression.split()).rstrip(". ")
    first = words.split(" ")[0]
    return words[:1].lower() + words[1:] if first[1:] == first[1:].lower() else words
