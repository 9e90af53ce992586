"""Records of the common shape, read with few looks: one image, one question in plain words and its answer.

Nine in ten records of the large instruction sets are such. What :func:`plain_record` takes, it reads as
:func:`~skyeye.data.formats.instructions.llava.parse_llava` does (a test compares the two on damaged lists); anything
else, unsound records among it, is left to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from skyeye.data.formats.base.problems import BYTE_ORDER_MARK
from skyeye.data.formats.instructions.beside import COLUMN
from skyeye.data.prompts import MiniGPTv2
from skyeye.data.record import MARK, Record, Turn
from skyeye.data.tasks import FREE

TAG_TASKS = {tag[1:-1]: task for task, tag in reversed(MiniGPTv2.tags.items())}  # "caption" -> caption, not video
CLASSIFY = re.compile(r"classify the image .*?classes:\s*(.+?)\.\s", re.IGNORECASE | re.DOTALL)
_DETAIL = re.compile(r"describe .*\bin detail", re.IGNORECASE)
_OPENINGS = {f"[{tag}": tag for tag in TAG_TASKS}
_MARKED = "<image>\n"
#: Each of these may be the beginning of boxes, marked phrases, markers and signs of a template.
_SIGNS = ("<", "[", "{")
_ELSEWHERE = frozenset({"system", "ground_truth", "objects", COLUMN})
_CAPTIONS = ("caption", "video_caption")
_ANSWERS = ("vqa", "classification")
_TALK = ("detail", FREE)


def plain_record(
    item: object, where: str, id: str, source: str, split: str, task: str | None, find_image: Callable[[str, str], str]
) -> Record | None:
    """The record of a JSON value of the common shape; None: it has another one.

    Args:
        item, where, id, source, split, task, find_image: as in ``parse_llava``.

    Raises:
        BadRecord: its image is not found.
    """
    if type(item) is not dict or not _ELSEWHERE.isdisjoint(item):
        return None
    image, texts = item.get("image"), plain_texts(item.get("conversations"))
    if texts is None or type(image) is not str or not image or image != image.strip() or BYTE_ORDER_MARK in image:
        return None
    opening, question, answer = texts
    tag = _OPENINGS.get(opening)
    if opening and tag is None:
        return None
    task = single_task(question, tag, task)
    references: dict[str, object]
    if task in _CAPTIONS:
        references = {"captions": [answer]}
    elif task in _ANSWERS and ":" not in question:  # else it may name the classes
        references = {"answer": answer}
    elif task in _TALK:
        references = {}
    else:
        return None
    turns = (Turn(question, answer, task),)
    return Record(id, source, task, split, (find_image(image, where),), turns, references, (), where)


def plain_texts(messages: object) -> tuple[str, str, str] | None:
    """What stands before the closing bracket of a tag, the question behind it, and the answer; None: another shape."""
    texts = two_texts(messages)
    if texts is None:
        return None
    (question, answer), opening = texts, ""
    if question.startswith("["):
        opening, _, question = question.partition("]")
        question = question.lstrip()
    if not question:
        return None
    for sign in _SIGNS:
        if sign in question or sign in answer:
            return None
    if not (question.isascii() and answer.isascii()) and _is_odd(question + answer):
        return None
    return opening, question.replace("\n", " "), answer


def two_texts(messages: object) -> tuple[str, str] | None:
    """One question without the image marker before it, and its answer; None: another shape, or one is empty."""
    if type(messages) is not list or len(messages) != 2:
        return None
    asked, said = messages
    if type(asked) is not dict or type(said) is not dict or asked.get("from") != "human" or said.get("from") != "gpt":
        return None
    question, answer = asked.get("value"), said.get("value")
    if type(question) is not str or type(answer) is not str:
        return None
    question, answer = question.removeprefix(_MARKED).strip(), answer.strip()
    return (question, answer) if question and answer else None


def _is_odd(text: str) -> bool:
    """Whether a text holds signs that are taken off or refused."""
    return BYTE_ORDER_MARK in text or MARK in text


def single_task(question: str, tag: str | None, hint: str | None) -> str:
    """What the only question of a record asks.

    Args:
        tag: that it opens with, a key of :data:`TAG_TASKS`; None: none.
        hint: what the file, its folder or the recipe says.
    """
    if tag is not None and (hint is None or MiniGPTv2.tags.get(hint) != f"[{tag}]"):
        hint = TAG_TASKS[tag]  # the record knows better than the file it is in
    if hint is None:
        return "detail" if _DETAIL.match(question) else FREE
    if hint == "vqa" and ":" in question and CLASSIFY.search(question):
        return "classification"
    return hint
