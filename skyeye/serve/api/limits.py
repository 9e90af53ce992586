"""How much one client may ask of a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MEBI = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a request may be.

    Attributes:
        rows: answers that are decoded together; memory grows with them.
        queue: requests that wait for a row; further ones are refused.
        body_bytes: of a request, its pictures included.
        pixels: of a picture.
        images: of a request.
        answers: ``n`` of a request.
        prompt_tokens: of a prompt, images included; None: what the model reads.
        answer_tokens: of an answer, whatever is asked.
        connections: at a time; a further one takes the place of an idle one, or is refused.
        seconds_to_send: for the head of a request, again for its body, and for the client to read its answer on.
        drain_seconds: for requests in work when the server is told to end.
    """

    rows: int = 32
    queue: int = 256
    body_bytes: int = 32 * MEBI
    pixels: int = 1 << 26
    images: int = 16
    answers: int = 16
    prompt_tokens: int | None = None
    answer_tokens: int = 1024
    connections: int = 512
    seconds_to_send: float = 30.0
    drain_seconds: int = 60


@dataclass(frozen=True)
class Sources:
    """From where pictures may come besides the request itself.

    Attributes:
        folders: whose files may be named.
        url_prefixes: of addresses that may be fetched.
        private_addresses: also from machines of the own network.
    """

    folders: tuple[Path, ...] = ()
    url_prefixes: tuple[str, ...] = ()
    private_addresses: bool = field(default=False, kw_only=True)
