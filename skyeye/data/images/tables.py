"""Pictures inside the tables of Hugging Face: a row of a Parquet or Arrow file, one at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from skyeye.errors import SkyEyeError

#: Bytes of a column that are read at a time: a row group may be gigabytes of pictures.
BUFFER = 1 << 20
_NEEDS = "pip install 'skyeye[parquet]' (pyarrow)"
_lock = threading.Lock()  # rows are read forward, from whatever thread
_open: dict[tuple[str, str, int], _Rows] = {}
_MOST = 4  # columns that are kept open


def open_parquet(path: str) -> Any:
    """``pyarrow.parquet.ParquetFile`` that streams its columns.

    Raises:
        SkyEyeError: pyarrow is not installed, or it is no such file.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise SkyEyeError("reading tables needs pyarrow", where=path, remedy=_NEEDS) from error
    try:
        return pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def arrow_batches(path: str) -> list[Any]:
    """The record batches of an Arrow file as ``datasets`` saves it, mapped and not read.

    Raises:
        SkyEyeError: as :func:`open_parquet`.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise SkyEyeError("reading tables needs pyarrow", where=path, remedy=_NEEDS) from error
    try:
        source = pa.memory_map(path)
        try:
            return list(pa.ipc.open_stream(source))
        except pa.ArrowInvalid:
            source.seek(0)
            opened = pa.ipc.open_file(source)
            return [opened.get_batch(number) for number in range(opened.num_record_batches)]
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def column_names(path: str) -> list[str]:
    """The columns of a table.

    Raises:
        SkyEyeError: as :func:`open_parquet`.
    """
    if path.lower().endswith(".arrow"):
        return next((list(batch.schema.names) for batch in arrow_batches(path)), [])
    return list(open_parquet(path).schema_arrow.names)


def image_bytes(path: str, column: str, row: int, item: int | None, where: str) -> bytes:
    """The bytes of a picture in a table.

    Args:
        item: its number, where the column holds several.

    Raises:
        SkyEyeError: there is no such row, or no picture in it.
    """
    with _lock:
        try:
            value = _value(path, column, row)
        except OSError as error:
            remedy = "check the folder of the images"
            raise SkyEyeError(f"cannot be read: {error.strerror or error}", where=path, remedy=remedy) from error
        except (IndexError, KeyError, StopIteration) as error:
            raise SkyEyeError("the table has no such row or column", where=where, remedy="read it again") from error
    if item is not None:
        value = value[item] if isinstance(value, list) and item < len(value) else None
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise SkyEyeError("the table holds no picture there", where=where, remedy="read the table again")
    return content


def _value(path: str, column: str, row: int) -> Any:
    if path.lower().endswith(".arrow"):
        for batch in _batches(path, os.stat(path).st_mtime_ns):
            if row < batch.num_rows:
                return batch.column(column)[row].as_py()
            row -= batch.num_rows
        raise IndexError(row)
    for group, rows in enumerate(_groups(path, os.stat(path).st_mtime_ns)):
        if row < rows:
            key = path, column, group
            if key not in _open:
                while len(_open) >= _MOST:
                    del _open[next(iter(_open))]
                _open[key] = _Rows(path, column, group)
            return _open[key].at(row)
        row -= rows
    raise IndexError(row)


@lru_cache(maxsize=8)
def _batches(path: str, changed: int) -> list[Any]:
    return arrow_batches(path)


@lru_cache(maxsize=64)
def _groups(path: str, changed: int) -> tuple[int, ...]:
    """Rows of each row group of a Parquet file."""
    about = open_parquet(path).metadata
    return tuple(about.row_group(group).num_rows for group in range(about.num_row_groups))


class _Rows:
    """A column of a row group, read forward; going back begins anew."""

    def __init__(self, path: str, column: str, group: int):
        self.path, self.column, self.group = path, column, group
        self.row, self.value = -1, None
        self.rest: Iterator[Any] = iter(())

    def at(self, row: int) -> Any:
        if row < self.row or self.row < 0:
            file = open_parquet(self.path)
            self.rest = file.iter_batches(batch_size=1, row_groups=[self.group], columns=[self.column])
            self.row = -1
        while self.row < row:
            self.value = next(self.rest).column(0)[0].as_py()
            self.row += 1
        return self.value


def _unreadable(path: str, error: Exception) -> SkyEyeError:
    what = f"is no table that can be read: {str(error).splitlines()[0][:120]}"
    return SkyEyeError(what, where=path, remedy="fetch the file again")
