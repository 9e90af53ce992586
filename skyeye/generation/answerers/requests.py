"""Requests to a server of OpenAI's shapes: again after what passes, an error in words after what does not."""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from tqdm import tqdm

from skyeye.errors import SkyEyeError

#: Where the key is looked for; it is sent to the server and stands in no message and no file.
KEY = "OPENAI_API_KEY"
TRIES = 6
LONGEST_WAIT = 60.0
_CONNECT_SECONDS = 10.0
#: Busy, or broken for the moment.
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
#: The server takes this one question as wrong: too long, too large an image, a forbidden word.
_OF_THE_QUESTION = frozenset({400, 413, 422})
_SHOWN = 200  # characters of what a server says


@dataclass(frozen=True)
class Address:
    """A server, and a model there.

    Attributes:
        url: up to and with ``/v1`` or what stands in its place.
        model: as the server calls it; empty: the only one there.
    """

    url: str
    model: str


def parse_address(text: str) -> Address:
    """``http://host:8000/v1#model``, also without ``/v1``.

    Raises:
        SkyEyeError: it is no such address, or a key stands in it.
    """
    url, _, model = text.partition("#")
    form = "write openai:http://HOST:PORT/v1#MODEL"
    try:
        parts = urlsplit(url)
        host, secret = parts.hostname, bool(parts.username or parts.password or parts.query)
        port_is_sound = parts.port != 0
    except ValueError:
        host, secret, port_is_sound = None, False, False
    if secret:  # the address stands in files and messages; nothing of it is repeated here
        remedy = f"put the key into the environment as {KEY}, and {form}"
        raise SkyEyeError(
            "a key, password or query stands in the address of the server", where="openai:", remedy=remedy
        )
    if parts.scheme not in ("http", "https") or not host or not port_is_sound:
        raise SkyEyeError("is no address of a server", where=f"openai:{url}", remedy=form)
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return Address(f"{parts.scheme}://{parts.netloc}{path or '/v1'}", model)


class QuestionRefused(Exception):
    """The server takes a question as wrong. The text is what it says."""

    def __init__(self, said: str, parameter: str | None):
        super().__init__(said)
        self.parameter = parameter


class Requests:
    """A server that is asked by several threads.

    Args:
        address: of the server.
        key: sent as ``Authorization``; None: nothing is sent.
        timeout: seconds that an answer may take.
        first_wait: seconds before the second try; each further wait is twice as long.
    """

    def __init__(self, address: Address, key: str | None, timeout: float, *, first_wait: float = 1.0):
        self._url, self._key, self._timeout, self._first_wait = address.url, key, timeout, first_wait
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limit = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS))
        # as many connections as threads: each of these sends one request at a time
        self._client = httpx.Client(headers=headers, timeout=limit, limits=httpx.Limits(max_connections=None))
        self._stopped = threading.Event()
        self._told: set[str] = set()

    def stop(self) -> None:
        """End all waits; what is asked from now on fails at once."""
        self._stopped.set()
        self._client.close()

    def models(self) -> list[str] | None:
        """The names of the models there; None where the server does not tell.

        Raises:
            SkyEyeError: nobody answers at the address, or the key is refused.
        """
        try:
            response = self._client.get(f"{self._url}/models")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            remedy = "start the server, or mend the address: openai:http://HOST:PORT/v1#MODEL"
            raise SkyEyeError(f"no server answers: {self._said(error)}", where=self._url, remedy=remedy) from error
        if response.status_code in (401, 403):
            raise self._failed(response)
        try:
            return [str(model["id"]) for model in response.json()["data"]] if response.is_success else None
        except (ValueError, KeyError, TypeError):
            return None

    def complete(self, body: Mapping[str, Any], where: str, read: Callable[[Any], Any]) -> Any:
        """Send a request for a chat completion until it is answered, and read the reply.

        Args:
            where: who asks, for messages.
            read: raises ``ValueError``, ``KeyError``, ``TypeError`` or ``IndexError`` at what is no such reply, which
                is asked for again.

        Raises:
            QuestionRefused: the server takes this question as wrong.
            SkyEyeError: it refuses every question, or does not answer after all tries.
        """
        reason = ""
        for attempt in range(TRIES):
            pause = self._first_wait * 2**attempt
            try:
                response = self._client.post(f"{self._url}/chat/completions", json=body)
                if response.is_success:
                    return read(response.json())
                reason = self._status(response)
                pause = max(pause, _retry_after(response))
            except httpx.TimeoutException:
                reason = f"no answer within {self._timeout:g} s"
            except (httpx.HTTPError, OSError) as error:
                reason = f"the connection broke: {self._said(error)}"
            except (ValueError, KeyError, TypeError, IndexError) as error:
                reason = f"the reply is no chat completion ({type(error).__name__}: {self._said(error)})"
            if self._stopped.is_set() or attempt + 1 == TRIES:
                break
            self._tell(reason)
            if self._stopped.wait(min(pause, LONGEST_WAIT)):
                break
        remedy = "look at the server (--concurrency, --timeout), then start again: what is answered is kept"
        raise SkyEyeError(
            f"no answer after {TRIES} tries; the last: {reason}", where=f"{self._url}, {where}", remedy=remedy
        )

    def _status(self, response: httpx.Response) -> str:
        """Why a request has to be sent again.

        Raises:
            QuestionRefused, SkyEyeError: it has not.
        """
        if response.status_code in _OF_THE_QUESTION:
            said, parameter = _error_of(response)
            raise QuestionRefused(self._said(said), parameter)
        if response.status_code not in _PASSING:
            raise self._failed(response)
        return f"status {response.status_code}: {self._said(_error_of(response)[0])}"

    def _failed(self, response: httpx.Response) -> SkyEyeError:
        remedies = {
            401: f"set the server's key as {KEY} in the environment",
            403: f"set a key that may use this model as {KEY} in the environment",
            404: "mend the address or the name of the model: openai:http://HOST:PORT/v1#MODEL",
        }
        what = f"the server refuses with status {response.status_code}: {self._said(_error_of(response)[0])}"
        remedy = remedies.get(response.status_code, "mend the address: openai:http://HOST:PORT/v1#MODEL")
        return SkyEyeError(what, where=self._url, remedy=remedy)

    def _said(self, said: object) -> str:
        """What a server or a library says, on a line and without the key."""
        text = " ".join(str(said).split()) or type(said).__name__
        return (text.replace(self._key, "***") if self._key else text)[:_SHOWN]

    def _tell(self, reason: str) -> None:
        """Tell of each kind of failure once; a busy server would fill the terminal."""
        kind = reason.split(":")[0]
        if kind not in self._told:
            self._told.add(kind)
            tqdm.write(f"{self._url}: {reason}; asked again, up to {TRIES} times")


def _error_of(response: httpx.Response) -> tuple[str, str | None]:
    """What the server says of an error, and which parameter it means."""
    try:
        content = response.json()
    except (ValueError, UnicodeDecodeError):
        return response.text or response.reason_phrase, None
    error = content.get("error", content) if isinstance(content, dict) else content
    if not isinstance(error, dict):
        return str(error), None
    said = next((error[key] for key in ("message", "detail", "msg") if error.get(key)), None)
    parameter = error.get("param")
    return json.dumps(error) if said is None else str(said), parameter if isinstance(parameter, str) else None


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait; 0 where it does not."""
    said = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
