"""Long JSON lists, one element at a time: RSVQA-HR alone has 625 thousand records in one file."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.encoding import encoding_of, not_text
from skyeye.data.formats.base.noted import note
from skyeye.data.formats.base.problems import BYTE_ORDER_MARK, not_json, unreadable
from skyeye.errors import SkyEyeError

CHUNK = 1 << 20  # bytes read at a time
LONGEST = 1 << 24  # characters of one element; a conversation has some thousands
#: An error this close to the end of what was read may come from the cut (``tru``, ``-12.``, ``1e``, ``\\u00``).
_CUT = 64
_BLANK = " \t\r\n"
_COMMA = re.compile(f"[{_BLANK}]*,[{_BLANK}]*")
#: Stands for an element that belongs to the part of another process.
ELSEWHERE = object()
_part: ContextVar[tuple[float, float] | None] = ContextVar("part", default=None)
_DECODER = json.JSONDecoder()
_SHAPES = {"{": "object", '"': "string", "t": "true/false", "f": "true/false", "n": "null"}


@contextmanager
def part_of_list(start: float, end: float) -> Iterator[None]:
    """Let :func:`iter_json_list` yield the elements between two fractions of a file, and :data:`ELSEWHERE` for those
    before them. Parts that touch each other hold every element once."""
    token = _part.set((start, end))
    try:
        yield
    finally:
        _part.reset(token)


def is_list(path: str | Path) -> bool:
    """Whether a file is one JSON list; objects line by line and tables are none, and have no parts."""
    with open(path, "rb") as file:
        start = file.read(4096)
    return start.decode(encoding_of(start[:4]), "replace").lstrip(_BLANK + BYTE_ORDER_MARK).startswith("[")


def iter_json_list(path: str | Path, decoder: json.JSONDecoder = _DECODER) -> Iterator[Any]:
    """The elements of a JSON file that holds a list, in order; memory is bounded by the longest element.

    Elements before a mistake are yielded, then the mistake is raised with its place, in the words of
    :func:`skyeye.data.formats.base.problems.load_json`.

    Args:
        decoder: makes the elements; one with ``object_pairs_hook`` sees a key that stands twice in an object.

    Raises:
        SkyEyeError: missing, empty, not text, not JSON (with line and column), not a list, or an element of more than
            :data:`LONGEST` characters.
    """
    path = Path(path)
    try:
        note("file", path)
        with open(path, "rb") as file:
            elements, part = _Elements(file, path, decoder), _part.get()
            yield from elements if part is None else elements.between(*part)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise unreadable(path, error) from error


class _Elements:
    """The text of a file in pieces, what of it is not used yet, and where that begins."""

    def __init__(self, file: Any, path: Path, json_decoder: json.JSONDecoder):
        self.file, self.path, self.json_decoder = file, path, json_decoder
        self.decoder = codecs.getincrementaldecoder(encoding_of(file.read(4)))()
        file.seek(0)
        self.text, self.at = "", 0
        self.bytes_read, self.lines, self.column = 0, 1, 1  # line and column (from 1) of text[0]
        self.ended = False

    def __iter__(self) -> Iterator[Any]:
        self._more(CHUNK)
        opening = self._next_sign()
        if opening == "":
            raise self._error(f"is empty ({self.path.stat().st_size} bytes)", "fetch the file again")
        if opening != "[":
            self._check_start(opening)
        self.at += 1
        if self._next_sign() != "]":
            while True:
                yield self._element()
                yield from self._common()
                sign = self._next_sign()
                if sign == "]":
                    break
                if sign != ",":
                    raise self._invalid("Expecting ',' delimiter", self.at)
                self.at += 1
        self.at += 1
        if self._next_sign():
            raise self._invalid("Extra data", self.at)

    def between(self, start: float, end: float) -> Iterator[Any]:
        """Elements of a part of the file, by the bytes that had been read when they were found."""
        size = os.fstat(self.file.fileno()).st_size
        for value in self:
            if self.bytes_read >= end * size:
                return
            yield value if self.bytes_read >= start * size else ELSEWHERE

    def _common(self) -> Iterator[Any]:
        """Further elements, while they are sound and lie whole in what was read: nothing else is looked at for them."""
        text, limit = self.text, len(self.text) - _CUT
        scan: Callable[[str, int], tuple[Any, int]] = self.json_decoder.scan_once  # type: ignore[attr-defined]  # no stub
        while (comma := _COMMA.match(text, self.at)) is not None and comma.end() < limit:
            try:
                value, end = scan(text, comma.end())
            except (StopIteration, ValueError, RecursionError):  # told where elements are taken one by one
                return
            if end >= limit:
                return
            self.at = end
            yield value

    def _element(self) -> Any:
        size = CHUNK
        while True:
            self._next_sign()
            try:
                value, end = self.json_decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated") or error.pos > len(self.text) - _CUT
                if self.ended or not unfinished:
                    raise self._invalid(error.msg, error.pos) from error
            except (ValueError, RecursionError) as error:  # as in load_json
                raise self._error(f"is not usable JSON: {error}", "fetch the file again", self.at) from error
            else:
                if end < len(self.text) - _CUT or self.ended:  # else a number may go on
                    self.at = end
                    return value
            if len(self.text) - self.at > LONGEST:
                raise self._error(f"holds an element of more than {LONGEST} characters", "split the file", self.at)
            self._more(size)
            size *= 2  # a long element is decoded anew a few times, not once a piece

    def _next_sign(self) -> str:
        """The next character that is not blank, ``""`` at the end of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _BLANK:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self._more(CHUNK)

    def _more(self, size: int) -> None:
        self.lines, self.column = self._place(self.at)
        pending = len(self.decoder.getstate()[0])
        piece = self.file.read(size)
        self.ended = not piece
        try:
            text = self.decoder.decode(piece, final=self.ended)
        except UnicodeDecodeError as error:
            at = self.bytes_read - pending + error.start
            raise not_text(error.object, error, str(self.path), at) from error
        self.bytes_read += len(piece)
        self.text, self.at = self.text[self.at :] + text, 0

    def _place(self, at: int) -> tuple[int, int]:
        lines = self.text.count("\n", 0, at)
        return self.lines + lines, (at - self.text.rfind("\n", 0, at) if lines else self.column + at)

    def _check_start(self, opening: str) -> None:
        shape = _SHAPES.get(opening) or ("number" if opening in "-0123456789NI" else None)
        if shape is None:
            raise self._invalid("Expecting value", self.at)
        raise self._error(f"holds a JSON {shape} where a list [...] is expected", "check `format:` of this source")

    def _invalid(self, message: str, at: int) -> SkyEyeError:
        line, column = self._place(at)
        return not_json(self.text if line == 1 else "[", message, f"{self.path}, line {line}, column {column}")

    def _error(self, what: str, remedy: str, at: int | None = None) -> SkyEyeError:
        where = str(self.path)
        if at is not None:
            line, column = self._place(at)
            where = f"{where}, line {line}, column {column}"
        return SkyEyeError(what, where=where, remedy=remedy)
