"""One record of LLaVA-style JSON: ``{"image": ..., "conversations": [{"from": ..., "value": ...}, ...]}``.

SkyEye-968k and most other instruction sets of the field are written so, and read in several variants by those who use
them: with and without ``<image>``, with and without the task tag, image names with or without folder and extension, the
question and answer in ``text`` / ``ground_truth`` instead of ``conversations``. All are accepted; what does not fit is
reported with file and record number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from skyeye.data.formats.base.problems import BadRecord, as_text, suggest
from skyeye.data.formats.base.written_boxes import read_mentions
from skyeye.data.formats.instructions.messages import as_record, read_messages
from skyeye.data.formats.instructions.plain import CLASSIFY, TAG_TASKS, single_task
from skyeye.data.geometry.box_text import SKYEYE, BoxNotation, Size, broken_braces
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import MARK, Mention, Record, Region, Turn
from skyeye.data.tasks import FREE, TASKS

#: Stands in a text whose boxes are given as numbers beside it.
PLACE = "<box>"
_TAG = re.compile(r"\[\s*([A-Za-z][\w -]*?)\s*\]\s*")


def parse_llava(
    item: object,
    where: str,
    *,
    id: str,
    source: str,
    split: str = "train",
    task: str | None = None,
    find_image: Callable[[str, str], str] | None = None,
    notation: BoxNotation = SKYEYE,
    size: Size | None = None,
    mentions: Sequence[Sequence[Mention] | None] | None = None,
    strict_tags: bool = False,
) -> Record:
    """One LLaVA-style record.

    Args:
        item: the JSON value, with ``image`` (name or list of frames) and what :func:`read_messages` takes.
        where: file and record number, for messages.
        task: what is asked when the first question carries no tag.
        find_image: (name, where) -> path of the image; None keeps the names as they are.
        notation, size: how its texts write boxes, and the size of its image where that needs it.
        mentions: for each turn the boxes that belong to the places ``<box>`` of its texts; None: boxes are written.
        strict_tags: a bracket at the beginning of a question that is no task tag makes the record unsound; otherwise it
            is plain text (``[A] yes [B] no``).

    Returns:
        A record whose questions carry neither tag nor image marker. ``references`` are filled from the answer
        (and from ``ground_truth``, when it stands beside a conversation) for tasks that are scored.

    Raises:
        BadRecord: nothing asked or answered, unknown role, broken box, image not named or not found.
    """
    record = as_record(item, where)
    names = image_names(record, where)
    messages = read_messages(record, len(names), where)
    tags, questions = zip(*(split_tag(question, where, strict_tags) for question, _ in messages.turns), strict=True)
    texts = list(zip(questions, (answer for _, answer in messages.turns), strict=True))
    task = "conversation" if len(texts) > 1 else single_task(texts[0][0], tags[0], task)
    if not names and (messages.marked or TASKS[task].images != "any"):
        raise BadRecord("no image", where, "asks about an image but names none")
    tasks = [task] if len(texts) == 1 else [FREE if tag is None else TAG_TASKS[tag] for tag in tags]
    turns = tuple(
        read_turn(question, answer, of, notation, size, where, given)
        for (question, answer), of, given in zip(texts, tasks, mentions or [None] * len(texts), strict=True)
    )
    turns = (replace(turns[0], system=messages.system), *turns[1:]) if messages.system else turns
    if task == "refer" and not _boxes(turns[0].answer_mentions):
        raise BadRecord("no box", where, f"[refer] is answered without a box: {texts[0][1][:60]!r}")
    return Record(
        id=id,
        source=source,
        task=task,
        split=split,
        turns=turns,
        where=where,
        regions=tuple(region for turn in turns for region in regions_of(turn)),
        images=tuple(find_image(name, where) if find_image else name for name in names),
        references=references_of(turns[0], *texts[0], record.get("ground_truth")) if len(turns) == 1 else {},
    )


def read_turn(
    question: str,
    answer: str,
    task: str,
    notation: BoxNotation = SKYEYE,
    size: Size | None = None,
    where: str = "",
    mentions: Sequence[Mention] | None = None,
) -> Turn:
    """A bare question, its answer, and the boxes of both as numbers.

    Args:
        mentions: the boxes of the places ``<box>`` of the two texts; None: they are written in them.

    Raises:
        BadRecord: a box is broken, or there is not a mention for each place.
    """
    if mentions is not None:
        return _turn_with(question, answer, task, mentions, where)
    asked, of_question = _read(question, notation, size, where)
    said, of_answer = _read(answer, notation, size, where)
    return Turn(asked, said, task, of_question + of_answer)


def split_tag(question: str, where: str = "", strict: bool = False) -> tuple[str | None, str]:
    """The task tag that a question opens with, in small letters, and the question behind it: "[VQA]how many".

    Raises:
        BadRecord: it opens with a bracket that is no tag, and ``strict``.
    """
    match = _TAG.match(question)
    if match is None:
        return None, question
    tag = match[1].lower()
    if tag in TAG_TASKS:
        return tag, question[match.end() :]
    if strict:
        raise BadRecord("unknown tag", where, f"unknown task tag [{match[1]}]; {suggest(tag, list(TAG_TASKS))}")
    return None, question


def _turn_with(question: str, answer: str, task: str, mentions: Sequence[Mention], where: str) -> Turn:
    """A turn whose boxes are given as numbers, for the places that are marked in its texts."""
    asked, said = question.replace(PLACE, MARK), answer.replace(PLACE, MARK)
    turn = Turn(asked, said, task, tuple(mentions))
    if not turn.is_whole():
        places = asked.count(MARK) + said.count(MARK)
        raise BadRecord("malformed box", where, f"{places} places {PLACE} in the texts, {len(mentions)} mentions")
    return turn


def _read(text: str, notation: BoxNotation, size: Size | None, where: str) -> tuple[str, tuple[Mention, ...]]:
    if MARK in text:
        raise BadRecord("broken character", where, "the text holds U+FFFC, which stands for a box here")
    if notation.form == "braces" and "<" not in text and "{" not in text:
        return text, ()
    if notation.name == SKYEYE.name:
        _check_boxes(text, where)
    bare, mentions = read_mentions(text, notation, size)
    if notation.name != SKYEYE.name:
        _check_boxes(bare, where)
    for box in _boxes(mentions):
        if isinstance(box, Box) and (box.x1 > box.x2 or box.y1 > box.y2):
            raise BadRecord("inverted box", where, f"a box of {text[:60]!r} has its corners in the wrong order")
    return bare, mentions


def _boxes(mentions: Sequence[Mention]) -> list[Box | OrientedBox]:
    return [box for mention in mentions for box in mention.boxes]


def _upright(box: Box | OrientedBox) -> Box:
    return (box.upright() if isinstance(box, OrientedBox) else box).clipped()


def regions_of(turn: Turn) -> Iterator[Region]:
    """The boxes of an answer behind a marked phrase, until the next."""
    phrase = None
    for mention in turn.answer_mentions:
        phrase = mention.phrase if mention.phrase is not None else phrase
        if phrase is not None:
            for box in mention.boxes:
                yield Region(
                    _upright(box).as_tuple(), phrase.strip(), tuple(box) if isinstance(box, OrientedBox) else None
                )


def image_names(item: dict[str, Any], where: str) -> list[str]:
    """The images that a record names.

    Raises:
        BadRecord: one of them is not a file name.
    """
    value = item.get("image", item.get("images"))
    names = value if isinstance(value, list) else [] if value is None or value == "" else [value]
    texts = [text for name in names if (text := as_text(name)) is not None]
    if len(texts) < len(names):
        raise BadRecord("no image", where, f"image is not a file name: {str(value)[:60]!r}")
    return texts


def _check_boxes(text: str, where: str) -> None:
    for kind, what in broken_braces(text):
        raise BadRecord(kind, where, what)


def references_of(turn: Turn, question: str, answer: str, truth: object) -> dict[str, Any]:
    """What the answer of a single turn is scored with.

    Args:
        question, answer: as published, without tag.
        truth: what stands beside the conversation.
    """
    truths = [t for t in map(as_text, truth if isinstance(truth, list) else [truth]) if t]
    if turn.task in ("caption", "video_caption"):
        return {"captions": truths or [answer]}
    if turn.task in ("vqa", "classification"):
        references: dict[str, Any] = {"answer": truths[0] if truths else answer}
        named = CLASSIFY.search(question) if turn.task == "classification" else None
        if named:  # own data may ask for a class without listing them
            references["classes"] = [name.strip() for name in named[1].split(",") if name.strip()]
        return references
    if turn.task in ("refer", "detection"):
        return {**_places(turn.answer_mentions), "phrase": question}
    if turn.task == "identify":
        return {**_places(turn.question_mentions), "phrase": answer, "captions": truths or [answer]}
    return {}


def _places(mentions: Sequence[Mention]) -> dict[str, Any]:
    boxes = _boxes(mentions)
    places: dict[str, Any] = {"boxes": [list(_upright(box)) for box in boxes]}
    if any(isinstance(box, OrientedBox) for box in boxes):
        oriented = [box if isinstance(box, OrientedBox) else OrientedBox.from_box(box) for box in boxes]
        places["polygons"] = [list(box) for box in oriented]
    return places
