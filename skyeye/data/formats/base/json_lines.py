"""Files of one JSON object per line: memory is bounded by the longest line, and a bad line costs only itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skyeye.data.file_kind import HEAD, describe_content
from skyeye.data.formats.base.encoding import TEXTS, binary_lines, not_text
from skyeye.data.formats.base.noted import note
from skyeye.data.formats.base.problems import BadRecord, unreadable
from skyeye.errors import SkyEyeError

LONGEST = 1 << 24  # bytes of one line; a long conversation has some thousands


def iter_json_lines(path: str | Path) -> Iterator[tuple[str, dict[str, Any] | BadRecord]]:
    """(place, object) of each line, or (place, what is wrong with it); blank lines are skipped.

    Raises:
        SkyEyeError: the file is missing, unreadable or empty, or it is one JSON list.
    """
    path = Path(path)
    try:
        note("file", path)
        with open(path, "rb") as file:
            empty = True
            for number, line in enumerate(binary_lines(file, LONGEST), start=1):
                if not line.strip():
                    continue
                if empty:
                    _refuse_other_content(line, path)
                if empty and line.strip() in (b"[", b"[{"):
                    raise SkyEyeError(
                        "is one JSON list", where=str(path), remedy="write one object per line, without [ ] and commas"
                    )
                empty = False
                where = f"{path}, line {number}"
                try:
                    yield where, _parse(line, where)
                except BadRecord as error:
                    yield where, error
    except UnicodeDecodeError as error:
        raise not_text(error.object, error, str(path)) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise unreadable(path, error) from error
    if empty:
        raise SkyEyeError(
            f"is empty ({path.stat().st_size} bytes)", where=str(path), remedy="write one JSON object per line"
        )


def _refuse_other_content(start: bytes, path: Path) -> None:
    known = describe_content(start[:HEAD])
    if known is not None and known[0] not in TEXTS:
        raise SkyEyeError(f"is {known[0]}, not JSON lines", where=str(path), remedy=known[1])


def _parse(line: bytes, where: str) -> dict[str, Any]:
    if len(line) > LONGEST:
        raise BadRecord("line too long", where, f"has more than {LONGEST} bytes")
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise BadRecord("not text", where, f"byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise BadRecord("not JSON", where, f"is not valid JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # a key twice, NaN, numbers of thousands of digits, deep nesting
        raise BadRecord("not JSON", where, f"is not usable JSON: {str(error)[:120]}") from error
    if not isinstance(value, dict):
        raise BadRecord("not a record", where, f"is not an object {{...}} but {str(value)[:60]!r}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"key {twice!r} stands twice in one object")
    return found


def _constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")
