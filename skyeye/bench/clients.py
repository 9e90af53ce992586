"""Clients of a server: each asks one question after the other over a connection of its own."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

#: Seconds that a client waits for an answer before it counts as lost.
PATIENCE = 120.0


@dataclass(frozen=True)
class Asked:
    """A request: a question about a picture, and how long its answer is.

    Attributes:
        picture: content of an image file.
    """

    picture: bytes
    question: str
    tokens: int

    def body(self, model: str, **settings: Any) -> dict[str, Any]:
        """The request as a server reads it."""
        url = f"data:image/jpeg;base64,{base64.b64encode(self.picture).decode()}"
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": self.question}]
        return {
            "model": model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.tokens,
            **settings,
        }


@dataclass
class Load:
    """What clients met together.

    Attributes:
        seconds: of each answer, from the request to its last byte.
        elapsed: of all of it.
        statuses: how often each came; 0: the connection broke, or nothing came.
    """

    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.elapsed

    def percentile(self, share: float) -> float:
        """Seconds below which this share of the answers came."""
        return float(np.percentile(self.seconds, 100 * share))

    def count(self, status: int) -> None:
        """One more of a status."""
        self.statuses[status] = self.statuses.get(status, 0) + 1


def made_requests(count: int, seed: int, questions: Sequence[str], side: int = 224) -> list[Asked]:
    """Questions about as many pictures: soft patches of colour, no two alike; answers of 4 to 24 tokens."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        small = Image.fromarray(random.integers(0, 255, (12, 12, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(buffer := io.BytesIO(), "JPEG", quality=90)
        found.append(Asked(buffer.getvalue(), questions[number % len(questions)], int(random.integers(4, 25))))
    return found


class Client:
    """A connection that is kept between requests, and opened again when it breaks."""

    def __init__(self, port: int):
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes, leave_after: float | None = None) -> tuple[int, dict[str, Any]]:
        """(status, content) of an answer.

        Args:
            leave_after: seconds after which the client hangs up; the status is then 0.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = self._streams or await asyncio.open_connection("127.0.0.1", self.port)
                self._streams = reader, writer
                writer.write(_head(body) + body)
                await writer.drain()
                if leave_after is not None:
                    await asyncio.sleep(leave_after)
                    self.close()
                    return 0, {}
                return await _answer(reader)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.close()
            return 0, {}

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _head(body: bytes) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length:"))
    content = await reader.readexactly(length)
    return status, json.loads(content) if content else {}


async def run_clients(port: int, clients: int, bodies: Iterator[bytes], going_on: Callable[[], bool]) -> Load:
    """As many clients, each with one request after the other from ``bodies``, for as long as it goes on."""
    load = Load()

    async def ask() -> None:
        client = Client(port)
        while going_on():
            began = time.perf_counter()
            status, _ = await client.post(next(bodies))
            load.count(status)
            if status == 200:
                load.seconds.append(time.perf_counter() - began)
        client.close()

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(clients)))
    load.elapsed = time.perf_counter() - began
    return load
