"""The messages of one conversation as published: who says what, where its images stand, what the system says first.

Images are shown before the first question (docs/sequence.md). A marker that stands there, or at the end, is only taken
out; one in the middle of the words, and any of several images, becomes words: "first image", "second image".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from skyeye.data.formats.base.problems import BadRecord, as_text

_QUESTIONER, _ANSWERER = {"human", "user"}, {"gpt", "assistant", "model"}
#: How data sets say in a text that an image stands there; the last two are Qwen's and LLaMA-3's.
_MARKER = re.compile(
    r"<Img>\s*<ImageHere>\s*</Img>|<ImageHere>|<image>|<video>"
    r"|<\|vision_start\|><\|(?:image|video)_pad\|><\|vision_end\|>|<\|image\|>",
    re.IGNORECASE,
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@dataclass(frozen=True)
class Messages:
    """A conversation.

    Attributes:
        turns: questions and answers, without markers of images.
        system: what the system says first.
        marked: whether a text holds a marker.
    """

    turns: list[tuple[str, str]]
    system: str | None
    marked: bool


def read_messages(item: dict[str, Any], images: int, where: str) -> Messages:
    """The messages of a record: ``conversations`` or ``messages``, or ``text`` with ``ground_truth``.

    Args:
        images: how many images the record names.
        where: file and record, for messages.

    Raises:
        BadRecord: nothing asked or answered, an unknown role, or another number of images than the texts mark.
    """
    messages = messages_of(item, where)
    system = as_text(item.get("system"))
    if system is None and item.get("system") not in (None, ""):
        raise BadRecord("wrong turn", where, f"system is not text: {str(item['system'])[:60]!r}")
    if _role(messages[0]) == "system":
        system = text_of(messages[0])
        messages = messages[1:]
    texts = []
    for number, message in enumerate(messages):
        role, expected = _role(message), _ANSWERER if number % 2 else _QUESTIONER
        if role not in expected:
            raise BadRecord("wrong turn", where, _wrong_role(number, role, expected))
        if not (text := text_of(message)):
            kind = "no answer" if number % 2 else "no question"
            raise BadRecord(kind, where, f"message {number} ({kind[3:]}) is empty or not text")
        texts.append(text)
    if not texts:
        raise BadRecord("no question", where, "the system alone says something")
    if len(texts) % 2:
        raise BadRecord("no answer", where, f"the last question is not answered: {texts[-1][:60]!r}")
    questions, marked = _without_markers(texts[::2], images, where)
    for number, question in enumerate(questions):
        if not question:
            raise BadRecord("no question", where, f"message {2 * number} (question) is empty or not text")
    return Messages(list(zip(questions, texts[1::2], strict=True)), system, marked)


def as_record(item: object, where: str) -> dict[str, Any]:
    """The JSON value of a record.

    Raises:
        BadRecord: it is no object.
    """
    if not isinstance(item, dict):
        raise BadRecord("not a record", where, f"is not an object {{...}} but {str(item)[:60]!r}")
    return item


def messages_of(item: dict[str, Any], where: str) -> list[Any]:
    """The messages of a record as they stand there, at least one.

    Raises:
        BadRecord: it has none.
    """
    messages = item.get("conversations", item.get("messages"))
    if messages is None and "text" in item:
        answer = item.get("ground_truth", item.get("answer"))
        if isinstance(answer, list):  # several references; the first is the one to learn
            answer = answer[0] if answer else None
        messages = [{"from": "human", "value": item["text"]}, {"from": "gpt", "value": answer}]
    if not isinstance(messages, list) or not messages:
        found = ", ".join(map(str, item)) or "nothing"
        raise BadRecord("no conversation", where, f"has neither conversations nor text; it has {found[:120]}")
    return messages


def _role(message: Any) -> str | None:
    role = message.get("from", message.get("role")) if isinstance(message, dict) else None
    return role.strip().lower() if isinstance(role, str) else None


def text_of(message: Any) -> str | None:
    """The text of a message; of one in parts (``{"type": "text"}``, ``{"type": "image"}``) these behind each other."""
    content = message.get("value", message.get("content")) if isinstance(message, dict) else None
    if not isinstance(content, list):
        return as_text(content)
    parts = [part if isinstance(part, dict) else {} for part in content]
    kinds = {"image": "<image>", "image_url": "<image>", "video": "<video>"}
    return as_text("\n".join(kinds.get(str(part.get("type")), as_text(part.get("text")) or "") for part in parts))


def _wrong_role(number: int, role: str | None, expected: set[str]) -> str:
    if role == "system":
        return f"message {number} comes from system, which can only speak first"
    return f"message {number} should come from {'/'.join(sorted(expected))}, not {str(role)[:30]!r}"


def _without_markers(questions: Sequence[str], images: int, where: str) -> tuple[list[str], bool]:
    """The questions with what stands in the place of each marker, and whether there was one."""
    pieces = [_MARKER.split(question) for question in questions]  # between the markers; blanks around them included
    markers = sum(len(own) - 1 for own in pieces)
    if images > 1 and markers > 1 and markers != images:
        raise BadRecord("image count", where, f"its texts show {markers} images, and it names {images}")
    together = len(pieces[0]) - 1 == markers and (_are_blank(pieces[0][:-1]) or _are_blank(pieces[0][1:]))
    if markers < 2 or images < 2 or together:
        plain = [_without_place(own) for own in pieces]
    else:
        numbers = iter(range(markers))
        plain = [_with_ordinals(own, numbers) for own in pieces]
    return [" ".join(text.split("\n")).strip() for text in plain], markers > 0


def _without_place(pieces: Sequence[str]) -> str:
    """A question whose images are shown before it; a marker in the middle of a line is a word of that line."""
    text = pieces[0].rstrip() if len(pieces) > 1 else pieces[0]
    for number, behind in enumerate(pieces[1:], start=1):
        before = pieces[number - 1]
        outside = _are_blank(pieces[:number]) or _are_blank(pieces[number:])
        line = before.rstrip(" \t").endswith("\n") or behind.lstrip(" \t").startswith("\n")
        text += " " if outside or line else " the image "
        text += behind.strip() if number + 1 < len(pieces) else behind.lstrip()
    return text


def _with_ordinals(pieces: Sequence[str], numbers: Iterator[int]) -> str:
    text = pieces[0]
    for behind in pieces[1:]:
        number = next(numbers)
        name = f"{_ORDINALS[number]} image" if number < len(_ORDINALS) else f"image {number + 1}"
        colon = "" if text.strip() else ":"  # "first image: what is this?", but "before: first image after: ..."
        text = f"{text.rstrip()} {name}{colon} {behind.lstrip()}"
    return text


def _are_blank(pieces: Sequence[str]) -> bool:
    return not any(map(str.strip, pieces))
