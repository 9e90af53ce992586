"""The address of a server: taken before anything is loaded, open when it can answer."""

from __future__ import annotations

import socket

from skyeye.errors import SkyEyeError

#: Connections that the system holds until they are taken, and that are taken at once.
BACKLOG = 128
#: Bytes of answers that the system holds for a client that reads slowly; without it, up to some megabytes each.
_SEND_BUFFER = 256 * 1024


def take_address(host: str, port: int) -> socket.socket:
    """A socket that nobody else can listen on now; clients are refused until :func:`open_to_clients`.

    Args:
        port: 0: any that is free.

    Raises:
        SkyEyeError: the port is taken, or not allowed.
    """
    taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # also just after another server on it has ended
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        what = f"cannot listen on {host} port {port}: {error.strerror or error}"
        raise SkyEyeError(what, where="--port", remedy="choose another one, or 0 for any that is free") from error
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # connections take it over
    return taken


def open_to_clients(taken: socket.socket) -> str:
    """Let clients connect; the address that they are told."""
    taken.listen(BACKLOG)
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
