"""The fields of a request for chat completions that are understood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from skyeye.serve.api.errors import ApiError


class TextPart(BaseModel):
    """Words of a message."""

    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """Where a picture is: a data URL; an address or a path, where the server allows it."""

    url: str


class ImagePart(BaseModel):
    """A picture of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    """A turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]


class JsonSchema(BaseModel):
    """The shape of an answer."""

    name: str = "answer"
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """Whether an answer is words or an object."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(BaseModel):
    """What is told besides the tokens."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A request. Fields that are not here are accepted, and named in the answer's header ``x-skyeye-ignored``.

    Attributes:
        task: of :data:`skyeye.data.tasks.TASKS`, whose tag is written before the last question; ours.
        repetition_penalty: is not among them: it would hold for all rows of a batch.
    """

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[Message] = Field(min_length=1)
    n: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = Field(None, ge=0)
    user: str | None = None
    task: str | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def longest(self) -> int | None:
        """Tokens that an answer may have; None: not said."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def ignored(self) -> list[str]:
        """Names of fields that say something and are not heeded."""
        extra: Mapping[str, Any] = self.model_extra or {}
        return [name for name, value in extra.items() if value not in (None, 0, 0.0, False, "auto", "none", [], {})]


def read_request(body: bytes) -> ChatRequest:
    """The request in a body.

    Raises:
        ApiError: it is no JSON, or a field is wrong.
    """
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        first = max(found, key=lambda each: len(each["loc"]))  # where several shapes are allowed: of the nearest one
        place = ".".join(
            str(part) for part in first["loc"] if part not in ("str", "list[tagged-union[TextPart,ImagePart]]")
        )
        message = f"{place}: {first['msg']}" if place else first["msg"]
        raise ApiError(message, param=place or None) from None
    _refuse(request)
    return request


def _refuse(request: ChatRequest) -> None:
    """Refuse what would be answered otherwise than it is meant."""
    extra = request.model_extra or {}
    for name in ("tools", "functions"):
        if extra.get(name):
            raise ApiError("the model calls no tools", param=name, code="unsupported_parameter")
    if request.top_logprobs:
        message = "only the log-probabilities of the tokens of the answer are told: top_logprobs is 0 here"
        raise ApiError(message, param="top_logprobs", code="unsupported_parameter")
    if any(not text for text in request.stops) or len(request.stops) > 16:
        raise ApiError("stop: at most 16 texts, none of them empty", param="stop")
    shape = request.response_format
    if shape is not None and shape.type == "json_schema" and shape.json_schema is None:
        raise ApiError("json_schema is missing", param="response_format.json_schema")
