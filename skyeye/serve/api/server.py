"""The process that listens."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from skyeye.errors import SkyEyeError
from skyeye.serve.api.app import build_app
from skyeye.serve.api.limits import Limits
from skyeye.serve.api.service import Service

_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_LONGEST_HEAD = 64 * 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0: any that is free.

    Raises:
        SkyEyeError: the port is taken, or not allowed.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        what = f"cannot listen on {host} port {port}: {error.strerror or error}"
        raise SkyEyeError(what, where="--port", remedy="choose another one, or 0 for any that is free") from error


def server_of(app: FastAPI, limits: Limits, log_level: str = "info") -> uvicorn.Server:
    """A server that waits for slow clients only so long, and at its end for the requests in work."""
    config = uvicorn.Config(
        app,
        http=type("Patience", (Impatient,), {"seconds": limits.seconds_to_send}),
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        ws="none",
        lifespan="on",
        log_level=log_level,
        timeout_graceful_shutdown=limits.drain_seconds,
        server_header=False,
    )
    return uvicorn.Server(config)


class Impatient(H11Protocol):
    """The protocol of a server that closes connections whose request does not begin.

    Attributes:
        seconds: that the head of a request may take, from the connection or from the first byte behind the last one.
    """

    seconds = 30.0

    def __init__(self, *args: Any, **keywords: Any):
        super().__init__(*args, **keywords)
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Head and body of an answer are two writes: with Nagle's algorithm the body waits for the head's acknowledgement,
        # 40 ms. asyncio turns it off for sockets that name their protocol, and these do not.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(self.seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self.transport.write(_TOO_LATE)
            self.transport.close()


def serve(service: Service, host: str, port: int, log_level: str = "info") -> None:
    """Answer requests until the process is told to end (SIGTERM, Ctrl-C); those in work are answered before.

    Raises:
        SkyEyeError: the port is taken.
    """
    with listen(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        print(f"{service.name}: http://{shown}:{listening.getsockname()[1]}/v1", flush=True)
        server_of(build_app(service), service.limits, log_level).run(sockets=[listening])
