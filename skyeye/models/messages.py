"""Chats in transformers' form, a list of messages with texts and images, as turns and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from transformers.image_utils import load_image as fetch_image

from skyeye.data.images.load import load_image, to_rgb
from skyeye.data.prompts import PromptStyle, unplaced_system
from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError

#: Where a part of a message may hold its image.
_IMAGE_KEYS = ("image", "url", "path", "base64", "image_url")


def read_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Image.Image], list[Turn]]:
    """The images of a chat, in order, and its turns; the answer of the last is empty.

    Our models read all images before the first question, wherever they stand in the chat.

    Args:
        messages: ``{"role": "user", "content": [{"type": "image", "image": ...}, {"type": "text", "text": ...}]}``;
            a content may be a text alone, and the first message may be the system's.

    Raises:
        SkyEyeError: roles do not alternate, it does not end with a question, or a part is neither text nor image.
    """
    messages = [dict(message) for message in messages]
    system = None
    if messages and messages[0].get("role") == "system":
        system = _read(messages.pop(0))[1]
    roles = [message.get("role") for message in messages]
    if not len(roles) % 2 or any(role != ("user", "assistant")[n % 2] for n, role in enumerate(roles)):
        what = f"a chat alternates between user and assistant and ends with user; this one goes {roles}"
        raise SkyEyeError(what, where="messages", remedy="put each turn of the chat into one message")
    images: list[Image.Image] = []
    texts = []
    for message in messages:
        shown, text = _read(message)
        images += shown
        texts.append(text)
    turns = [Turn(question, answer) for question, answer in zip(texts[::2], [*texts[1::2], ""], strict=True)]
    first = turns[0]
    return images, [Turn(first.question, first.answer, system=system), *turns[1:]]


def check_system(turns: Sequence[Turn], style: PromptStyle, name: str) -> None:
    """Refuse a system's message that a style has no place for.

    Raises:
        SkyEyeError: there is one.
    """
    if turns[0].system and not style.has_system:
        raise SkyEyeError(f"a system message {unplaced_system(name)}", where="messages", remedy="leave it out")


def _read(message: Mapping[str, Any]) -> tuple[list[Image.Image], str]:
    content = message.get("content") or ""
    if isinstance(content, str):
        return [], content
    images, texts = [], []
    for part in content:
        kind = part.get("type")
        if kind == "text":
            texts.append(str(part.get("text", "")))
        elif kind in ("image", "image_url"):
            images.append(_image(part))
        else:
            raise SkyEyeError(f"{kind!r} is no kind of content", where="messages", remedy="give texts and images")
    return images, "\n".join(texts)


def _image(part: Mapping[str, Any]) -> Image.Image:
    found = next((part[key] for key in _IMAGE_KEYS if part.get(key) is not None), None)
    if isinstance(found, Mapping):
        found = found.get("url")
    if found is None:
        raise SkyEyeError("an image without its picture", where="messages", remedy='give "image", "path" or "url"')
    if isinstance(found, Image.Image):
        return to_rgb(found)
    text = str(found)
    if text.startswith(("http://", "https://", "data:")) or "base64" in part:
        return to_rgb(fetch_image(text))
    return load_image(text.removeprefix("file://"))
