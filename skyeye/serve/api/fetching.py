"""Pictures from other machines: only from addresses that are allowed, and never from the own network by accident."""

from __future__ import annotations

import http.client
import ipaddress
import socket
from urllib.parse import SplitResult, unquote, urlsplit

from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.limits import Sources

_PARAM = "messages"


def fetch(url: str, sources: Sources, most_bytes: int, seconds: float) -> bytes:
    """The content of an address. Redirects are not followed, no cookies or credentials are sent.

    Raises:
        ApiError: it is not allowed, cannot be reached, or has too many bytes.
    """
    parts = _allowed(url, sources)
    connection = _connection(parts, sources, seconds)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": "skyeye", "Accept": "image/*"})
        response = connection.getresponse()
        if response.status != 200:
            what = f"{url} answers {response.status}" + (
                " (redirects are not followed)" if response.status < 400 else ""
            )
            raise ApiError(what, param=_PARAM)
        content = response.read(most_bytes + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApiError(f"{url} cannot be fetched: {error or type(error).__name__}", param=_PARAM) from error
    finally:
        connection.close()
    if len(content) > most_bytes:
        raise ApiError(f"{url} has more than {most_bytes:,} bytes", param=_PARAM)
    return content


def _allowed(url: str, sources: Sources) -> SplitResult:
    """The parts of an address that begins like an allowed one: same scheme, host and port, a path below its path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ApiError(f"no address: {error}", param=_PARAM) from error
    climbs = ".." in unquote(parts.path).replace("\\", "/").split("/")
    for prefix in sources.url_prefixes:
        known = urlsplit(prefix)
        same = (known.scheme, known.hostname, known.port) == (parts.scheme, parts.hostname, port)
        if same and not climbs and parts.username is None and parts.path.startswith(known.path or "/"):
            return parts
    allowed = f"allowed are {', '.join(sources.url_prefixes)}" if sources.url_prefixes else "none is allowed here"
    raise ApiError(f"pictures from this address are not fetched; {allowed}; or send a data URL", param=_PARAM)


def _connection(parts: SplitResult, sources: Sources, seconds: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)

    def connect(address: tuple[str, int], timeout: float, source_address: None = None) -> socket.socket:
        """To an address that was looked at: a name could mean another machine the next time it is asked for."""
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        places = [place[4][0] for place in found]
        if not sources.private_addresses and not all(_is_public(str(place)) for place in places):
            raise OSError("its host lies in a private network")
        return socket.create_connection((str(places[0]), address[1]), timeout)

    connection._create_connection = connect  # type: ignore[attr-defined]  # what http.client connects with
    return connection


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.split("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast
