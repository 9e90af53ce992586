"""``POST /v1/chat/completions``."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.jobs import Job, Piece, Task
from skyeye.serve.api.replies import Reply
from skyeye.serve.api.schemas import read_request
from skyeye.serve.api.service import Prepared, Service

_log = logging.getLogger("skyeye.serve")
#: Status of a request whose client has left, in the metrics only.
CLIENT_LEFT = 499


class Answering:
    """One request, from its body to its answer."""

    def __init__(self, service: Service, prepared: Prepared):
        self.service, self.prepared = service, prepared
        request = prepared.request
        self.began = time.monotonic()
        self.pieces: asyncio.Queue[Piece | ApiError] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        task = Task(
            prepared.conversation.turns,
            tuple(picture.given for picture in prepared.pictures),
            prepared.prompt,
            prepared.longest,
            prepared.sampling,
            request.stops,
            bool(request.stream) and prepared.boxes is None,
        )
        self.job = Job(task, lambda piece: loop.call_soon_threadsafe(self.pieces.put_nowait, piece))
        self.reply = Reply(service.processor, service.name, len(prepared.prompt), bool(request.logprobs))
        service.worker.submit(self.job)

    async def come(self) -> AsyncIterator[Piece]:
        """The pieces of all answers as they come, to the end of the last.

        Raises:
            ApiError: the model failed.
        """
        unfinished = len(self.prepared.sampling)
        while unfinished:
            piece = await self.pieces.get()
            if isinstance(piece, ApiError):
                raise piece
            if self.reply.answer_tokens == 0 and self.job.task.streams:
                self.service.metrics.first_token.observe(time.monotonic() - self.began)
            self.reply.count(piece)
            unfinished -= piece.finish_reason is not None
            yield piece
        metrics = self.service.metrics
        metrics.whole.observe(time.monotonic() - self.began)
        metrics.prompt_tokens.inc(self.reply.prompt_tokens)
        metrics.stored_tokens.inc(self.reply.stored_tokens)
        metrics.answer_tokens.inc(self.reply.answer_tokens)

    async def whole(self) -> dict[str, Any]:
        """The completion, when all answers are there."""
        pieces: list[list[Piece]] = [[] for _ in self.prepared.sampling]
        async for piece in self.come():
            pieces[piece.choice].append(piece)
        texts = ("".join(piece.text for piece in each) for each in pieces)
        return self.reply.whole([(self._content(text), each) for text, each in zip(texts, pieces, strict=True)])

    async def chunks(self, request: Request) -> AsyncIterator[str]:
        """The events of a streamed answer. Whoever stops reading them gives up the request."""
        try:
            for choice in range(len(self.prepared.sampling)):
                yield _event(self.reply.first(choice))
            async for piece in self.come():
                yield _event(self.reply.piece(piece, self._content(piece.text)))
            options = self.prepared.request.stream_options
            if options is not None and options.include_usage:
                yield _event(self.reply.last())
            left = await request.is_disconnected()  # then the last pieces went nowhere
            yield "data: [DONE]\n\n"
            self.service.metrics.requests.labels(str(CLIENT_LEFT) if left else "200").inc()
        except ApiError as error:
            self.service.metrics.requests.labels(str(error.status)).inc()
            yield _event(error.body)
        except (asyncio.CancelledError, GeneratorExit):
            self.service.metrics.requests.labels(str(CLIENT_LEFT)).inc()
            raise
        finally:
            self.give_up()  # nothing is left to be told, or nobody is there

    def give_up(self) -> None:
        """Nobody waits for more."""
        self.service.worker.give_up(self.job)

    def _content(self, text: str) -> str:
        boxes, size = self.prepared.boxes, self.prepared.size
        if boxes is None or size is None:
            return text
        style, turn = self.service.builder.style, self.prepared.conversation.turns[-1]
        return boxes.write(text, style, style.question(turn), size)


async def complete(service: Service, request: Request) -> Response:
    """Answer a request.

    Raises:
        ApiError: it cannot be answered.
    """
    service.authorise(request.headers.get("authorization"))
    service.worker.check_room()  # before its pictures are decoded
    body = await _body(request, service)
    loop = asyncio.get_running_loop()
    asked = await loop.run_in_executor(service.threads, read_request, body)
    prepared = await loop.run_in_executor(service.threads, service.prepare, asked)
    del body
    headers = {"x-skyeye-ignored": ", ".join(asked.ignored)} if asked.ignored else {}
    if asked.ignored:
        _log.warning("fields of a request that are not heeded: %s", headers["x-skyeye-ignored"])
    answering = Answering(service, prepared)
    if asked.stream:
        return StreamingResponse(answering.chunks(request), media_type="text/event-stream", headers=headers)
    found = await _unless_left(request, answering)
    return Response(status_code=CLIENT_LEFT) if found is None else JSONResponse(found, headers=headers)


async def _unless_left(request: Request, answering: Answering) -> dict[str, Any] | None:
    """The completion; None: the client has left, and its rows are free."""
    answer = asyncio.ensure_future(answering.whole())
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
        return await answer if answer.done() else None
    finally:
        answering.give_up()
        answer.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request, service: Service) -> bytes:
    """The body of a request.

    Raises:
        ApiError: it is too large, or does not come.
    """
    most, seconds = service.limits.body_bytes, service.limits.seconds_to_send
    too_large = ApiError(f"the request has more than {most:,} bytes", status=413, code="request_too_large")
    if int(request.headers.get("content-length") or 0) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise too_large
    except TimeoutError:
        what = f"the request has not come whole within {seconds:g} s"
        raise ApiError(what, status=408, headers={"Connection": "close"}) from None
    return bytes(body)


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"
