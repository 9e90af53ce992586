"""The process that listens."""

from __future__ import annotations

import resource
import socket

import torch
import uvicorn
from fastapi import FastAPI

from skyeye.errors import SkyEyeError
from skyeye.serve.api.app import build_app
from skyeye.serve.api.connections import Connection
from skyeye.serve.api.limits import Limits
from skyeye.serve.api.listening import BACKLOG, open_to_clients
from skyeye.serve.api.service import Service

_LONGEST_HEAD = 64 * 1024
_OTHER_FILES = BACKLOG + 128  # that may be open beside the connections in work


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
        backlog=BACKLOG,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        ws="none",
        lifespan="on",
        log_level=log_level,
        timeout_graceful_shutdown=limits.drain_seconds,
        server_header=False,
    )
    return uvicorn.Server(config)


def serve(service: Service, address: socket.socket, log_level: str = "info") -> None:
    """Answer requests until the process is told to end (SIGTERM, Ctrl-C); those in work are answered before.

    Args:
        address: of :func:`~skyeye.serve.api.listening.take_address`.

    Raises:
        SkyEyeError: the system allows too few open files, another server was faster, or the model is lost.
    """
    check_open_files(service.limits.connections)
    # of each of the threads that read pictures: torch would give it as many as there are cores
    torch.set_num_threads(1)
    print(f"{service.name}: {open_to_clients(address)}/v1", flush=True)
    server = server_of(build_app(service), service.limits, log_level)
    service.worker.when_lost = lambda: setattr(server, "should_exit", True)
    server.run(sockets=[address])
    if service.worker.lost:
        raise service.worker.lost
