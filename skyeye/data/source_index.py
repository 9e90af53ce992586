"""The table of a source on disk: a later start of the same files reads their index instead of them.

An index lies in a :func:`~skyeye.data.files.cache_folder`, one file a source: a header in JSON, the columns and the
texts of :mod:`skyeye.data.table`, which are mapped. It holds for as long as everything that the reader looked at is as
it was (:mod:`skyeye.data.formats.base.noted`), and the program that read it. Where none can be written, the source is
read as ever: nothing depends on it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import asdict, astuple
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from skyeye.config.schema import SourceConfig
from skyeye.data.files import cache_folder, whole_file
from skyeye.data.formats.base.image_folder import SUFFIXES
from skyeye.data.formats.base.noted import Notes, unchanged
from skyeye.data.formats.base.problems import Problem
from skyeye.data.table import COLUMNS, Table, damaged
from skyeye.errors import SkyEyeError

#: Bytes of annotations, some two thousand records, below which reading takes no longer than looking after an index.
LEAST = 1 << 19
_MAGIC = b"SKYEYEI1"
_START = struct.Struct("<8sQQ")  # magic, bytes of the header, checksum of header and columns
_ALIGNED = 8
_LONGEST = 1 << 30  # bytes of a header: it lists what was skipped


def is_large(path: str) -> bool:
    """Whether annotations, a file or those below a folder, are worth an index."""
    if os.path.isfile(path):
        return os.path.getsize(path) >= LEAST
    total = 0
    for folder, _, names in os.walk(path, followlinks=True):
        for name in names:
            if os.path.splitext(name)[1].lower() not in SUFFIXES:
                with suppress(OSError):  # a link to nothing
                    total += os.path.getsize(os.path.join(folder, name))
        if total >= LEAST:
            return True
    return False


def index_path(source: SourceConfig, name: str) -> Path:
    """The index of a source: named by what the recipe says of it and the folder that its paths are seen from."""
    about = json.dumps([name, os.getcwd(), asdict(source)], sort_keys=True, default=str)
    return cache_folder("sources") / f"{hashlib.sha256(about.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}.index"


def write_index(path: Path, table: Table, problems: list[Problem], notes: Notes) -> bool:
    """Write the index of a source; False where that cannot be done."""
    header = {
        "reader": reader_version(),
        "notes": [[list(key), state] for key, state in notes.items()],
        "problems": [astuple(problem) for problem in problems],
        "tasks": table.tasks,
        "splits": table.splits,
        "system_turns": table.system_turns,
        "fingerprint": table.fingerprint,
        "records": table.records,
        "groups": len(table),
        "images": len(table.images),
        "texts": len(table.texts),
    }
    told = json.dumps(header).encode()
    told += b" " * (-(_START.size + len(told)) % _ALIGNED)
    columns = [_whole(np.ascontiguousarray(table.columns[name], of).tobytes()) for name, of in COLUMNS.items()]
    checksum = zlib.crc32(b"".join(columns), zlib.crc32(told))
    try:
        with whole_file(path) as file:
            for part in (_START.pack(_MAGIC, len(told), checksum), told, *columns):
                file.write(part)
            file.write(_whole(bytes(table.images)))
            file.write(table.texts)
    except SkyEyeError:
        return False
    return True


def read_index(path: Path) -> tuple[Table, list[Problem]] | None:
    """The table of an index and what was skipped when it was made; None: there is none that still holds."""
    try:
        header, rest = _header(path)
        if header["reader"] != reader_version() or not unchanged((tuple(key), state) for key, state in header["notes"]):
            return None
        return _table(path, header, rest), [Problem(*problem) for problem in header["problems"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error):
        return None


@cache
def reader_version() -> str:
    """A short hash of the code that readers consist of."""
    root = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


class MappedTable(Table):
    """The table of an index: other processes map the file instead of copying it."""

    path: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return _mapped_again, (self.path, self.fingerprint)


def _mapped_again(path: Path, fingerprint: str) -> MappedTable:
    try:
        table = _table(path, *_header(path))
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise damaged() from error
    if table.fingerprint != fingerprint:  # another program has read other files meanwhile
        raise damaged()
    return table


def _header(path: Path) -> tuple[dict[str, Any], memoryview]:
    """The header of an index, and what follows it.

    Raises:
        OSError, ValueError, struct.error: it cannot be read, or is no index, or was damaged or cut off.
    """
    with open(path, "rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    magic, size, checksum = _START.unpack_from(content)
    rest = content[_START.size + size :]
    if magic != _MAGIC or size > _LONGEST:
        raise ValueError(magic)
    told = content[_START.size : _START.size + size]
    header = json.loads(bytes(told))
    columns = rest[: sum(_room(header, name) for name in COLUMNS)]
    if zlib.crc32(columns, zlib.crc32(told)) != checksum:
        raise ValueError(checksum)
    return header, rest


def _table(path: Path, header: dict[str, Any], rest: memoryview) -> MappedTable:
    columns: dict[str, np.ndarray] = {}
    for name, of in COLUMNS.items():
        columns[name] = np.frombuffer(rest, of, _count(header, name))
        rest = rest[_room(header, name) :]
    images, texts = rest[: header["images"]], rest[_padded(header["images"]) :][: header["texts"]]
    table = MappedTable(
        columns, texts, images, header["tasks"], header["splits"], header["system_turns"], header["fingerprint"]
    )
    object.__setattr__(table, "path", path)
    if not _is_sound(table):
        raise ValueError(path)
    return table


def _is_sound(table: Table) -> bool:
    """Whether every number of the columns points to something that exists."""
    columns, records = table.columns, table.records
    for name, total in (("text_end", len(table.texts)), ("images_end", len(table.images)), ("group_end", records)):
        ends = columns[name]
        if (int(ends[-1]) if len(ends) else 0) != total or (len(ends) and (ends[1:] < ends[:-1]).any()):
            return False
    limits = (("task", len(table.tasks)), ("split", len(table.splits)), ("order", records))
    return all(not len(columns[name]) or int(columns[name].max()) < limit for name, limit in limits)


def _whole(part: bytes) -> bytes:
    return part.ljust(_padded(len(part)), b"\0")


def _count(header: dict[str, Any], column: str) -> int:
    return header["groups" if column in ("group_end", "images_end") else "records"]


def _room(header: dict[str, Any], column: str) -> int:
    return _padded(_count(header, column) * np.dtype(COLUMNS[column]).itemsize)


def _padded(size: int) -> int:
    return size + -size % _ALIGNED
