"""Connections of clients that send nothing, read nothing, or are too many."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from skyeye.serve.api.errors import ApiError

_log = logging.getLogger("skyeye.serve")
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_SECONDS_TO_READ_A_REFUSAL = 2.0


class Connection(H11Protocol):
    """A connection that is closed when its client is too slow.

    Attributes:
        seconds: that the head of a request may take, from the connection or from the first byte behind the last one;
            and that the client may take to make room for what it is sent.
        most: connections of the server. A further one takes the place of that which has had no request in work for the
            longest time; when all have one, it is refused.
    """

    seconds = 30.0
    most = 512

    def __init__(self, *args: Any, **keywords: Any):
        super().__init__(*args, **keywords)
        self._head: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._idle_since = self.loop.time()
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Head and body of an answer are two writes: with Nagle's algorithm the body waits until the head has been
        # acknowledged, 40 ms. asyncio turns it off for sockets that name their protocol, and these do not.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=0)  # what the socket does not take pauses the answer, and is timed
        self._wait_for_head()
        if len(self.connections) > self.most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(self.seconds, self._let_go)

    def resume_writing(self) -> None:
        self._stop_counting()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_counting()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether it is open and no request is in work."""
        in_work = self.cycle is not None and not self.cycle.response_complete
        return not (in_work or self._refused or self.transport.is_closing())

    def _wait_for_head(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(self.seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _stop_counting(self) -> None:
        if self._stall is not None:
            self._stall.cancel()

    def _give_up(self) -> None:
        self._head = None
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self.transport.write(_TOO_LATE)
            self.transport.close()

    def _let_go(self) -> None:
        _log.warning("a client has not read its answer for %g s: its connection is cut", self.seconds)
        self.transport.abort()

    def _make_room(self) -> None:
        """Keep to the limit: close an idle connection, or refuse this one."""
        connections = [each for each in self.connections if isinstance(each, Connection)]
        if sum(not each.transport.is_closing() for each in connections) <= self.most:
            return
        idle = [each for each in connections if each.is_idle and each is not self]
        if not idle:
            return self._refuse()
        oldest = min(idle, key=lambda each: each._idle_since)
        if oldest.cycle is None:
            oldest._give_up()
        else:  # it waits for another request: an answer that nobody asked for would be taken for that of the next
            oldest.transport.close()

    def _refuse(self) -> None:
        """Tell that there are too many. What the client sends is read and dropped: a reset would hide the answer."""
        what = f"{self.most} connections have a request in work; try again"
        body = json.dumps(ApiError(what, status=503, code="too_many_connections").body).encode()
        head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        head += f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        self._refused = True
        self._stop_waiting()
        self.transport.write(head.encode() + body)
        self.transport.write_eof()
        self.loop.call_later(_SECONDS_TO_READ_A_REFUSAL, self.transport.abort)
