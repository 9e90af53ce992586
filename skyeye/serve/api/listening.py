"""The address of a server: taken before anything is loaded, open when it can answer."""

from __future__ import annotations

import socket

from skyeye.errors import SkyEyeError

#: Connections that the system holds until they are taken, and that are taken at once.
BACKLOG = 128
#: Bytes of answers that the system holds for a client that reads slowly; without it, up to some megabytes each.
_SEND_BUFFER = 256 * 1024


def take_address(host: str, port: int) -> socket.socket:
    """A socket at an address where nobody listens; clients are refused until :func:`open_to_clients`.

    Args:
        port: 0: any that is free.

    Raises:
        SkyEyeError: the port is taken, or not allowed.
    """
    taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # also just after another server on it has ended
        if taken.family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # :: is not 0.0.0.0 as well
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        raise _refused(host, port, error) from error
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # connections take it over
    return taken


def open_to_clients(taken: socket.socket) -> str:
    """Let clients connect; the address that they are told.

    Raises:
        SkyEyeError: another one, which loaded at the same time, listens there now.
    """
    host, port = taken.getsockname()[:2]
    try:
        taken.listen(BACKLOG)
    except OSError as error:
        raise _refused(host, port, error) from error
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refused(host: str, port: int, error: OSError) -> SkyEyeError:
    what = f"cannot listen on {host} port {port}: {error.strerror or error}"
    return SkyEyeError(what, where="--port", remedy="choose another one, or 0 for any that is free")
