"""The messages of a chat become the ids that ``skyeye serve`` would ask with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from skyeye.data.sequence import SequenceBuilder
from skyeye.errors import SkyEyeError
from skyeye.serve.api.conversation import read_conversation
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.schemas import read_request

#: vLLM has taken the pictures out of the messages; that there is one is all that is read.
_PICTURE = {"type": "image_url", "image_url": {"url": ""}}


def prompt_ids(
    builder: SequenceBuilder, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any] | None = None
) -> list[int]:
    """Ids that ask for the next answer, with -1 at the image tokens.

    Args:
        messages: a content is a text, or a list of ``{"type": "text", "text": ...}`` and ``{"type": "image"}``.
        options: further fields of the request: ``task`` of :data:`skyeye.data.tasks.TASKS`, ``tools``,
            ``response_format``.

    Raises:
        ApiError: the chat cannot be asked, or the answer would have to be written otherwise than the model does.
    """
    said = [{"role": each["role"], "content": _content(each.get("content"))} for each in messages]
    options = {name: value for name, value in (options or {}).items() if value is not None}
    request = read_request(json.dumps({"model": "", "messages": said} | options).encode())
    shape = request.response_format
    conversation = read_conversation(request, builder.style)
    if conversation.wants_list or (shape is not None and shape.type != "text"):
        what = "boxes as objects are written by skyeye serve; here an answer is in the model's own words"
        raise ApiError(what, param="response_format", code="unsupported_parameter")
    try:
        return builder.prompt(len(conversation.urls), conversation.turns)
    except SkyEyeError as error:
        raise ApiError(str(error), param="messages") from error


def _content(content: str | Sequence[Mapping[str, Any]] | None) -> str | list[Mapping[str, Any]]:
    if content is None or isinstance(content, str):
        return content or ""
    return [_PICTURE if part["type"] == "image" else part for part in content]
