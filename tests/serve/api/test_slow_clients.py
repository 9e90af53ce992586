"""Clients that do not read, that read slowly, and that open many connections: over real sockets."""

from __future__ import annotations

import json
import resource
import socket
import time
from contextlib import ExitStack

import pytest

from skyeye.errors import SkyEyeError
from skyeye.serve.api import listening, server
from skyeye.serve.api.limits import Limits
from tests.serve.api.conftest import about
from tests.serve.api.test_bad_requests import answered
from tests.serve.api.test_load import until
from tests.serve.api.test_server import metrics


def connected(running, received: int | None = None) -> socket.socket:
    """A client's socket.

    Args:
        received: bytes that its system holds for it.
    """
    client = socket.socket()
    if received is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
    client.settimeout(20)
    client.connect(("127.0.0.1", running.port))
    return client


def request(**settings) -> bytes:
    body = json.dumps({"model": "tiny", "messages": about("hello")} | settings).encode()
    return f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("reads", [False, True], ids=["reads nothing", "reads bytes"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_does_not_read_its_answer_is_let_go(serve, monkeypatch, stream, reads):
    monkeypatch.setattr(listening, "_SEND_BUFFER", 2048)
    running = serve(Limits(rows=4, seconds_to_send=0.5))
    large = {"n": 16, "max_tokens": 60, "temperature": 1.5, "seed": 1, "logprobs": True}  # 100 kB and more
    with connected(running, received=2048) as client:
        client.sendall(request(stream=stream, **large))
        until(lambda: running.server.server_state.connections)
        end = time.monotonic() + 20
        while running.server.server_state.connections:
            assert time.monotonic() < end, "the connection is held"
            time.sleep(0.02)
            if reads:
                client.recv(1)
        until(lambda: not running.server.server_state.tasks)
        until(lambda: running.service.worker.running == running.service.worker.waiting == 0)
        status = "499" if stream else "200"
        assert metrics(running)[f'skyeye_requests_total{{status="{status}"}}'] == 1
    assert answered(running)


def test_an_answer_does_not_wait_for_an_acknowledgement(serve):
    running = serve(Limits(rows=2))
    with connected(running):
        until(lambda: running.server.server_state.connections)
        connection = next(iter(running.server.server_state.connections))
        own = connection.transport.get_extra_info("socket")
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_idle_connections_make_room_for_requests(serve):
    running = serve(Limits(rows=2, connections=4))
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(running)) for _ in range(100)]
        until(lambda: len(running.server.server_state.connections) == 4)
        assert [client.recv(4096).startswith(b"HTTP/1.1 408") for client in idle[:96]] == [True] * 96
        assert answered(running)
        assert len(running.server.server_state.connections) <= 4


def test_a_connection_beyond_those_in_work_is_refused(serve, scripted):
    scripted("two white ships", seconds=0.1)
    running = serve(Limits(rows=1, connections=2))
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(running)) for _ in range(2)]
        for client in clients:
            client.sendall(request(max_tokens=8))
        until(lambda: running.service.worker.running + running.service.worker.waiting == 2)
        late = stack.enter_context(connected(running))
        late.sendall(request())
        head, _, body = late.makefile("rb").read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in head
        error = json.loads(body)["error"]
        assert error["code"] == "too_many_connections" and error["type"] == "server_error"
        assert [client.recv(4096)[:15] for client in clients] == [b"HTTP/1.1 200 OK"] * 2


@pytest.mark.parametrize(("soft", "hard", "set_to"), [(256, 4096, 756), (1024, 4096, None), (64, -1, 756)])
def test_open_files_are_raised_where_they_are_too_few(monkeypatch, soft, hard, set_to):
    was_set = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: was_set.append(pair))
    server.check_open_files(500)
    assert was_set == ([] if set_to is None else [(set_to, hard)])


def test_too_few_open_files_are_told(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 300))
    with pytest.raises(SkyEyeError, match="500 connections need 756 open files, the system allows 300") as raised:
        server.check_open_files(500)
    assert raised.value.remedy.startswith("--connections 44,")
