"""The process that listens."""

from __future__ import annotations

import resource
import socket

import uvicorn
from fastapi import FastAPI

from skyeye.errors import SkyEyeError
from skyeye.serve.api.app import build_app
from skyeye.serve.api.connections import Connection
from skyeye.serve.api.limits import Limits
from skyeye.serve.api.service import Service

_LONGEST_HEAD = 64 * 1024
_BACKLOG = 128  # connections that the system holds until they are taken, and that are taken at once
_OTHER_FILES = _BACKLOG + 128  # that may be open beside the connections in work
#: Bytes of answers that the system holds for a client that reads slowly; without it, up to some megabytes each.
_SEND_BUFFER = 256 * 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0: any that is free.

    Raises:
        SkyEyeError: the port is taken, or not allowed.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        what = f"cannot listen on {host} port {port}: {error.strerror or error}"
        raise SkyEyeError(what, where="--port", remedy="choose another one, or 0 for any that is free") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # connections take it over
    return listening


def check_open_files(connections: int) -> None:
    """Raise the number of files that the process may open, where that is too small for so many connections.

    Raises:
        SkyEyeError: the system does not allow it.
    """
    needed = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        what = f"{connections} connections need {needed} open files, the system allows {hard}"
        remedy = f"--connections {max(1, hard - _OTHER_FILES)}, or raise the limit (ulimit -Hn)"
        raise SkyEyeError(what, where="--connections", remedy=remedy)
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def server_of(app: FastAPI, limits: Limits, log_level: str = "info") -> uvicorn.Server:
    """A server that waits for slow clients only so long, and at its end for the requests in work."""
    patience = {"seconds": limits.seconds_to_send, "most": limits.connections}
    config = uvicorn.Config(
        app,
        http=type("LimitedConnection", (Connection,), patience),
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        ws="none",
        lifespan="on",
        log_level=log_level,
        timeout_graceful_shutdown=limits.drain_seconds,
        server_header=False,
    )
    return uvicorn.Server(config)


def serve(service: Service, host: str, port: int, log_level: str = "info") -> None:
    """Answer requests until the process is told to end (SIGTERM, Ctrl-C); those in work are answered before.

    Raises:
        SkyEyeError: the port is taken, the system allows too few open files, or the model is lost.
    """
    check_open_files(service.limits.connections)
    with listen(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        print(f"{service.name}: http://{shown}:{listening.getsockname()[1]}/v1", flush=True)
        server = server_of(build_app(service), service.limits, log_level)
        service.worker.when_lost = lambda: setattr(server, "should_exit", True)
        server.run(sockets=[listening])
    if service.worker.lost:
        raise service.worker.lost
