"""Rows of a file, each a record of its own: what is wrong with one costs that one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.json_lists import iter_json_list
from skyeye.data.formats.base.problems import BadRecord, Problem, as_text
from skyeye.data.formats.base.tables import SUFFIXES, iter_rows
from skyeye.data.record import Record

Row = dict[str, Any]


def rows_of(file: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) of a JSON list or of a table of Hugging Face.

    Raises:
        SkyEyeError: the file cannot be read.
    """
    if file.suffix.lower() in SUFFIXES:
        yield from iter_rows(file)
        return
    for number, item in enumerate(iter_json_list(file)):
        yield f"{file}, record {number}", item


def records_of(rows: Iterable[tuple[str, Any]], parse: Callable[[Row, str, int], Record]) -> Iterator[Record | Problem]:
    """The record of each row, or what is wrong with it.

    Args:
        parse: (row, place, its number from 0) -> record; raises
            :class:`~skyeye.data.formats.base.problems.BadRecord`.
    """
    for number, (where, row) in enumerate(rows):
        try:
            if not isinstance(row, dict):
                raise BadRecord("not a record", where, f"is not an object {{...}} but {str(row)[:60]!r}")
            yield parse(row, where, number)
        except BadRecord as error:
            yield error.problem()


def text_in(row: Row, where: str, kind: str, *keys: str) -> str:
    """The text under the first of the keys that a row has; a number counts, NaN does not.

    Args:
        kind: of the problem where there is none (``no question``).

    Raises:
        BadRecord: there is none.
    """
    value = next((row[key] for key in keys if row.get(key) is not None), None)
    if isinstance(value, bool):
        value = "yes" if value else "no"
    if isinstance(value, (int, float)) and math.isfinite(value):
        value = str(value)
    text = as_text(value)
    if text is None:
        raise BadRecord(kind, where, f"{' or '.join(keys)} is empty or not text: {str(value)[:40]!r}")
    return text
