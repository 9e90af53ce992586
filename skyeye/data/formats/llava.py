"""One record of LLaVA-style JSON: ``{"image": ..., "conversations": [{"from": ..., "value": ...}, ...]}``.

SkyEye-968k and most other instruction sets of the field are written so, and read in several variants by those who use
them: with and without ``<image>``, with and without the task tag, image names with or without folder and extension, the
question and answer in ``text`` / ``ground_truth`` instead of ``conversations``. All are accepted; what does not fit is
reported with file and record number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from skyeye.data.boxes import parse_boxes, parse_phrases
from skyeye.data.formats.common import BadRecord, as_text, nearest
from skyeye.data.record import TASK_TAGS, Record, Region, Turn

_TAG_TASKS = {tag[1:-1]: task for task, tag in reversed(TASK_TAGS.items()) if tag}  # "caption" -> caption, not video
_MARKER = re.compile(r"\s*(?:<Img>\s*<ImageHere>\s*</Img>|<ImageHere>|<image>|<video>)\s*", re.IGNORECASE)
_TAG = re.compile(r"\[\s*([A-Za-z][\w -]*?)\s*\]\s*")
_BRACES = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"\s*(?:<\s*(-?\d{1,9})\s*>\s*){4}")
_CLASSIFY = re.compile(r"classify the image .*?classes:\s*(.+?)\.\s", re.IGNORECASE | re.DOTALL)
_QUESTIONER, _ANSWERER = {"human", "user"}, {"gpt", "assistant", "model"}


def parse_llava(
    item: object,
    where: str,
    *,
    id: str,
    source: str,
    split: str = "train",
    task: str | None = None,
    find_image: Callable[[str, str], str] | None = None,
) -> Record:
    """One LLaVA-style record.

    Args:
        item: the JSON value, with ``image`` (name or list of frames) and either ``conversations`` or ``text`` and
            ``ground_truth``.
        where: file and record number, for messages.
        task: what is asked when the first question carries no tag.
        find_image: (name, where) -> path of the image; None keeps the names as they are.

    Returns:
        A record whose first question carries its tag and no image marker. ``references`` are filled from the answer
        (and from ``ground_truth``, when it stands beside a conversation) for tasks that are scored.

    Raises:
        BadRecord: nothing asked or answered, unknown tag or role, broken box, image not named or not found.
    """
    if not isinstance(item, dict):
        raise BadRecord("not a record", where, f"is not an object {{...}} but {str(item)[:60]!r}")
    turns, marked = _turns(item, where)
    tag = _tag(turns[0].question, where)
    for turn in turns[1:]:
        _tag(turn.question, where)
    task = _task(turns, tag, task)
    if tag is None and TASK_TAGS[task] and len(turns) == 1:
        turns = (Turn(f"{TASK_TAGS[task]} {turns[0].question}", turns[0].answer),)
    elif tag is not None:  # "[VQA]how many" -> "[vqa] how many"
        words = _TAG.sub("", turns[0].question, count=1)
        turns = (Turn(f"[{tag}] {words}".strip(), turns[0].answer), *turns[1:])

    names = _image_names(item, where)
    if not names and (marked or TASK_TAGS[task]):
        raise BadRecord("no image", where, "asks about an image but names none")
    for turn in turns:
        _check_boxes(turn.question, where)
        _check_boxes(turn.answer, where)
    if task == "refer" and not parse_boxes(turns[0].answer):
        raise BadRecord("no box", where, f"[refer] is answered without a box: {turns[0].answer[:60]!r}")
    regions = tuple(
        Region(tuple(box), phrase) for turn in turns for phrase, boxes in parse_phrases(turn.answer) for box in boxes
    )
    return Record(
        id=id,
        source=source,
        task=task,
        split=split,
        turns=turns,
        where=where,
        regions=regions,
        images=tuple(find_image(name, where) if find_image else name for name in names),
        references=_references(task, turns, item.get("ground_truth")) if len(turns) == 1 else {},
    )


def _turns(item: dict[str, Any], where: str) -> tuple[tuple[Turn, ...], bool]:
    """Questions and answers without image markers, and whether there was a marker."""
    messages = item.get("conversations")
    if messages is None and "text" in item:
        answer = item.get("ground_truth", item.get("answer"))
        if isinstance(answer, list):  # several references; the first is the one to learn
            answer = answer[0] if answer else None
        messages = [{"from": "human", "value": item["text"]}, {"from": "gpt", "value": answer}]
    if not isinstance(messages, list) or not messages:
        found = ", ".join(map(str, item)) or "nothing"
        raise BadRecord("no conversation", where, f"has neither conversations nor text; it has {found[:120]}")
    values: list[str] = []
    marked = False
    for number, message in enumerate(messages):
        role = message.get("from", message.get("role")) if isinstance(message, dict) else None
        expected = _ANSWERER if number % 2 else _QUESTIONER
        if not isinstance(role, str) or role.lower() not in expected:
            who = "/".join(sorted(expected))
            raise BadRecord("wrong turn", where, f"message {number} should come from {who}, not {str(role)[:30]!r}")
        raw = message.get("value", message.get("content"))
        text = as_text(raw)
        if text is not None and number % 2 == 0:
            text, markers = _MARKER.subn(" ", text)
            marked = marked or markers > 0
            text = " ".join(text.split("\n")).strip()
        if not text:
            kind = "no answer" if number % 2 else "no question"
            raise BadRecord(kind, where, f"message {number} ({kind[3:]}) is empty or not text")
        values.append(text)
    if len(values) % 2:
        raise BadRecord("no answer", where, f"the last question is not answered: {values[-1][:60]!r}")
    return tuple(Turn(q, a) for q, a in zip(values[::2], values[1::2], strict=True)), marked


def _tag(question: str, where: str) -> str | None:
    match = _TAG.match(question)
    if not match:
        return None
    tag = match[1].lower()
    if tag not in _TAG_TASKS:
        raise BadRecord("unknown tag", where, f"unknown task tag [{match[1]}]; {nearest(tag, list(_TAG_TASKS))}")
    return tag


def _task(turns: tuple[Turn, ...], tag: str | None, hint: str | None) -> str:
    if len(turns) > 1:
        return "conversation"
    if tag is None and hint is None:
        return "detail" if re.match(r"describe .*\bin detail", turns[0].question, re.IGNORECASE) else "conversation"
    if tag is not None and (hint is None or TASK_TAGS[hint] != f"[{tag}]"):
        hint = _TAG_TASKS[tag]  # the record knows better than the file it is in
    if hint == "vqa" and _CLASSIFY.search(turns[0].question):
        return "classification"
    return hint


def _image_names(item: dict[str, Any], where: str) -> list[str]:
    value = item.get("image", item.get("images"))
    names = value if isinstance(value, list) else [] if value is None or value == "" else [value]
    texts = [as_text(name) for name in names]
    if None in texts:
        raise BadRecord("no image", where, f"image is not a file name: {str(value)[:60]!r}")
    return texts


def _check_boxes(text: str, where: str) -> None:
    for inside in _BRACES.findall(text):
        if "<" not in inside:
            continue  # braces in prose
        numbers = [int(n) for n in re.findall(r"-?\d{1,9}", inside)]
        if not _NUMBERS.fullmatch(inside):
            raise BadRecord("malformed box", where, f"{{{inside[:60]}}} is not a box {{<x1><y1><x2><y2>}}")
        x1, y1, x2, y2 = numbers
        if not all(0 <= n <= 100 for n in numbers):
            raise BadRecord("box outside the image", where, f"box {{{inside}}} leaves 0..100")
        if x1 > x2 or y1 > y2:
            raise BadRecord("inverted box", where, f"box {{{inside}}} has its corners in the wrong order")


def _references(task: str, turns: tuple[Turn, ...], truth: object) -> dict[str, Any]:
    question, answer = _TAG.sub("", turns[0].question, count=1), turns[0].answer
    truths = [t for t in map(as_text, truth if isinstance(truth, list) else [truth]) if t]
    if task in ("caption", "video_caption"):
        return {"captions": truths or [answer]}
    if task in ("vqa", "classification"):
        references: dict[str, Any] = {"answer": truths[0] if truths else answer}
        named = _CLASSIFY.search(question) if task == "classification" else None
        if named:  # own data may ask for a class without listing them
            references["classes"] = [name.strip() for name in named[1].split(",") if name.strip()]
        return references
    if task in ("refer", "detection"):
        return {"boxes": [list(box) for box in parse_boxes(answer)], "phrase": question}
    if task == "identify":
        return {"boxes": [list(box) for box in parse_boxes(question)], "phrase": answer, "captions": truths or [answer]}
    return {}
