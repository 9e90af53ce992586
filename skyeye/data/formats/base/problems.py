"""What the readers share: how a problem is told, and loading files that may be empty, broken or of another shape."""

from __future__ import annotations

import inspect
import json
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from skyeye.data.file_kind import HEAD, describe_content
from skyeye.data.formats.base.encoding import decode
from skyeye.data.formats.base.noted import note
from skyeye.data.images import load as images
from skyeye.data.images.reference import parse_reference
from skyeye.errors import SkyEyeError

#: Opens files that Windows wrote, and texts that were put together from such files.
BYTE_ORDER_MARK = "\ufeff"

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Problem:
    """A record (or an object of an image) that a reader did not take over. Readers yield these between the records.

    Attributes:
        kind: short and countable: ``"missing image"``, ``"no answer"``, ``"inverted box"``, ``"too small"`` ...
        where: file and record or line.
        what: one sentence.
        by_rule: the annotation is sound and a documented rule leaves it out; it does not count as broken.
        count: how many units of the annotation it stands for: five captions when their one image is missing; 0 for a
            remark that leaves nothing out. Each reader says what its unit is; every unit becomes a record or is
            counted here.
    """

    kind: str
    where: str
    what: str
    by_rule: bool = False
    count: int = 1

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class BadRecord(SkyEyeError):
    """Raised while one record is parsed; readers turn it into a :class:`Problem` and go on with the next."""

    def __init__(self, kind: str, where: str, what: str):
        super().__init__(what, where=where)
        self.kind = kind

    def problem(self, count: int = 1) -> Problem:
        return Problem(self.kind, str(self.where), self.what, count=count)


def with_arguments_of(known: Callable[..., Any], **more: Any) -> Callable[[Function], Function]:
    """Decorator: the function takes what ``known`` takes, and by keyword ``more`` with these defaults.

    The options of a source are checked against the signature of its reader; a reader that hands most of them on to
    another function says so with this and need not name them again.
    """
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=type(value))
        for name, value in more.items()
    ]
    parameters = [*map(partial(_evaluated, known), inspect.signature(known).parameters.values()), *own]

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function).replace(parameters=parameters)
        function.__signature__ = signature  # type: ignore[attr-defined]  # inspect looks there first
        return function

    return decorate


def _evaluated(function: Callable[..., Any], parameter: inspect.Parameter) -> inspect.Parameter:
    """With the type itself instead of its name, which only the module of the function may know."""
    kind = parameter.annotation
    return parameter.replace(annotation=eval(kind, function.__globals__)) if isinstance(kind, str) else parameter


def load_json(path: Path, want: type[list[Any]] | type[dict[Any, Any]]) -> Any:
    """The JSON value of a file.

    Raises:
        SkyEyeError: missing, empty, not text, not JSON (with line and column), or not a ``want`` at the top.
    """
    text = read_text(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise not_json(text, error.msg, f"{path}, line {error.lineno}, column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of nested brackets
        raise SkyEyeError(f"is not usable JSON: {error}", where=str(path), remedy="fetch the file again") from error
    if not isinstance(value, want):
        shape = "a list [...]" if want is list else "an object {...}"
        raise SkyEyeError(
            f"holds a JSON {_json_name(value)} where {shape} is expected",
            where=str(path),
            remedy="check `format:` of this source",
        )
    return value


def read_text(path: Path) -> str:
    """The text of an annotation file, decoded as it announces itself, else as UTF-8; line ends become ``\\n``.

    Raises:
        SkyEyeError: missing, a folder, unreadable, empty, or not text.
    """
    text = read_any_text(path)
    if not text.strip():
        raise SkyEyeError(
            f"is empty ({Path(path).stat().st_size} bytes)", where=str(path), remedy="fetch the file again"
        )
    return text


def read_any_text(path: Path) -> str:
    """:func:`read_text` of a file that may be empty: labels of a picture without objects."""
    try:
        note("file", path)
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise unreadable(path, error) from error
    return decode(content, str(path)).replace("\r\n", "\n").replace("\r", "\n")


def not_json(text: str, message: str, where: str) -> SkyEyeError:
    """What is told of a file that is no JSON: what else it is, where that can be seen, else what the parser says."""
    known = describe_content(text[:HEAD].encode("utf-8", "replace")[:HEAD])
    if known is not None and known[0] not in ("JSON", "text"):
        return SkyEyeError(f"is {known[0]}, not JSON", where=where, remedy=known[1])
    remedy = "the file may be cut off; fetch it again"
    if "\0" in text[:4]:
        remedy = "it is UTF-16 without a byte order mark: save it as UTF-8"
    return SkyEyeError(f"is not valid JSON: {message}", where=where, remedy=remedy)


def unreadable(path: Path, error: Exception) -> SkyEyeError:
    """What is told of an annotation file that the system does not give out."""
    if isinstance(error, IsADirectoryError):
        return SkyEyeError("is a folder", where=str(path), remedy="give the file in it")
    reason = getattr(error, "strerror", None) or str(error)
    return SkyEyeError(f"cannot be read: {reason}", where=str(path), remedy="check `path:` of this source")


def text_lines(path: Path) -> list[str]:
    """The lines of a file as an editor counts them; ``str.splitlines`` also parts at signs that occur inside captions.

    Raises:
        SkyEyeError: as :func:`read_text`.
    """
    return read_text(path).removesuffix("\n").split("\n")


def image_size(reference: str, where: str) -> tuple[int, int]:
    """Width and height in pixels of an image reference, from the file's header alone.

    Raises:
        BadRecord: not an image.
    """
    note("picture", parse_reference(reference)[0])
    try:
        return images.image_size(reference)
    except SkyEyeError as error:
        raise BadRecord("unreadable image", where, str(error)) from error


def as_text(value: object) -> str | None:
    """Text of a JSON string or finite number, stripped, also of a byte order mark; None: anything else, or nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None  # NaN is an empty cell of a table
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    return (value.strip().strip(BYTE_ORDER_MARK).strip() or None) if isinstance(value, str) else None


def pick(choices: Sequence[str], key: str) -> str:
    """One of the choices, the same one for the same key on every machine."""
    return choices[zlib.crc32(key.encode("utf-8", "surrogatepass")) % len(choices)]


def suggest(word: str, known: Sequence[str]) -> str:
    """``"did you mean 'x'?"`` or the list of what is known."""
    close = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _json_name(value: object) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "true/false", type(None): "null"}
    return names.get(type(value), "number")
