"""Messages become the turns of a conversation, and the pictures that stand before them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from skyeye.data.prompts import PromptStyle
from skyeye.data.record import MARK, Turn
from skyeye.data.tasks import FREE, TASKS
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.schemas import ChatRequest, ImagePart, Message

#: How geoai (vllm_geo.py) asks servers of this kind for boxes; it expects a list of objects with these keys.
_GEOAI = re.compile(r"^Detect all instances of '(.+?)' in this image\. .*JSON.*0-1.*\"x_min\"", re.DOTALL)


@dataclass(frozen=True)
class Conversation:
    """What is asked.

    Attributes:
        turns: the last is the question, whose answer is empty.
        urls: of the pictures, which stand before the first turn.
        wants_list: the boxes are expected as a JSON list of ``x_min``, ``y_min``, ``x_max``, ``y_max`` in 0..1.
    """

    turns: tuple[Turn, ...]
    urls: tuple[str, ...]
    wants_list: bool = False


def read_conversation(request: ChatRequest, style: PromptStyle) -> Conversation:
    """The conversation of a request.

    Raises:
        ApiError: roles do not alternate, a picture stands behind the first question, or something is empty.
    """
    system, messages = _system(request.messages, style)
    roles = [message.role for message in messages]
    if len(roles) % 2 == 0 or any(role != ("user", "assistant")[n % 2] for n, role in enumerate(roles)):
        raise ApiError(f"messages go user, assistant, user ... and end with user; these go {roles}", param="messages")
    urls: list[str] = []
    texts: list[str] = []
    for number, message in enumerate(messages):
        words, shown = _content(message)
        if shown and number:
            what = "pictures stand in the first message of the user, before all questions; begin a new conversation"
            raise ApiError(f"{what} about another one", param="messages")
        urls += shown
        texts.append(words)
    question, task, wants_list = _question(texts[-1], request.task, style)
    before = [Turn(asked, said) for asked, said in zip(texts[:-1:2], texts[1::2], strict=True)]
    turns = [*before, Turn(question, "", task)]
    if system is not None:
        first = turns[0]
        turns[0] = Turn(first.question, first.answer, first.task, (), system)
    return Conversation(tuple(turns), tuple(urls), wants_list)


def _system(messages: Sequence[Message], style: PromptStyle) -> tuple[str | None, Sequence[Message]]:
    if messages[0].role not in ("system", "developer"):
        return None, messages
    if not style.has_system:
        what = "this model has no place for a system message; say it in the question"
        raise ApiError(what, param="messages.0", code="unsupported_value")
    words, shown = _content(messages[0])
    if shown:
        raise ApiError("a system message has no pictures", param="messages.0")
    return words, messages[1:]


def _content(message: Message) -> tuple[str, list[str]]:
    """The words and the addresses of the pictures of a message."""
    if isinstance(message.content, str):
        return message.content.replace(MARK, " ").strip(), []
    urls = [part.image_url.url for part in message.content if isinstance(part, ImagePart)]
    words = [part.text for part in message.content if not isinstance(part, ImagePart)]
    return "\n".join(words).replace(MARK, " ").strip(), urls


def _question(text: str, task: str | None, style: PromptStyle) -> tuple[str, str, bool]:
    """(question, task, whether a list of boxes is expected)."""
    if task is not None and task not in TASKS:
        raise ApiError(f"unknown task {task!r}; known: {', '.join(TASKS)}", param="task")
    if (found := _GEOAI.match(text)) and task is None:
        if style.tags.get("detection"):
            return found[1], "detection", True
        return f"where is the {found[1]} ?", "refer", True
    if not text and not style.tags.get(task or FREE):
        raise ApiError('the question is empty; ask something, e.g. "[caption] Describe the image."', param="messages")
    return text, task or FREE, False
