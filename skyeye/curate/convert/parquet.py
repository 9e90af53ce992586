"""Parquet files as ``datasets`` of Hugging Face writes them: messages, and images inside the table or named beside."""

from __future__ import annotations

import json
import os
from typing import Any

from skyeye.curate.convert.images import member_bytes
from skyeye.curate.convert.layouts import Item
from skyeye.curate.convert.records import RecordWriter
from skyeye.data.files import whole_file
from skyeye.data.formats.instructions.beside import COLUMN
from skyeye.data.images.reference import parse_reference
from skyeye.errors import SkyEyeError

#: A row group is written when it has so many rows or bytes of images: readers hold one at a time.
ROWS, BYTES = 100, 32 << 20


class ParquetWriter(RecordWriter):
    """The table of each split, a row group at a time.

    With ``--copy-images`` the bytes of images stand in the table, else their paths do.
    """

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.inside, self.copied = self.copied is not None, None
        self._tables: dict[str, Any] = {}
        self._waiting: dict[str, list[Item]] = {}
        self._held: dict[str, int] = {}
        self._bytes: dict[str, bytes] = {}

    def image(self, reference: str, where: str, file: str) -> str:
        """What the table calls an image; where images stand inside, its bytes are kept for the row.

        Raises:
            BadRecord: it has no name there, or cannot be read.
        """
        if not self.inside:
            return super().image(reference, where, file)
        name = os.path.basename(parse_reference(reference)[0])
        details = parse_reference(reference)[1]
        called = f"{name}_{details['row']}" if "row" in details else name
        number = 2
        while called in self._bytes:  # two images of one record may bear one name
            called, number = f"{number}_{name}", number + 1
        self._bytes[called] = member_bytes(reference, where)
        return called

    def add(self, record: Any) -> None:
        self._bytes = {}
        super().add(record)

    def close(self) -> None:
        for file in self._waiting:
            self._flush(file)
        for table in self._tables.values():
            table.close()

    def _write(self, file: str, item: Item) -> None:
        names = item.pop("file_names")
        item["images"] = [{"bytes": self._bytes.get(name), "path": name} for name in names]
        self._waiting.setdefault(file, []).append(item)
        self.told.files[file] = self.told.files.get(file, 0) + 1
        self._held[file] = self._held.get(file, 0) + sum(len(self._bytes.get(name, b"")) for name in names)
        if len(self._waiting[file]) >= ROWS or self._held[file] >= BYTES:
            self._flush(file)

    def _flush(self, file: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = _schema()
        if file not in self._tables:
            sink = self.stack.enter_context(whole_file(self.folder / file))
            self._tables[file] = pq.ParquetWriter(sink, schema)
        rows, self._waiting[file], self._held[file] = self._waiting[file], [], 0
        if rows:
            self._tables[file].write_table(pa.Table.from_pylist(rows, schema), row_group_size=len(rows))


def check_pyarrow() -> None:
    """Refuse to write tables without pyarrow.

    Raises:
        SkyEyeError: it is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        remedy = "pip install 'skyeye[parquet]' (pyarrow)"
        raise SkyEyeError("writing tables needs pyarrow", where="--to hf_parquet", remedy=remedy) from error


def _schema() -> Any:
    """The columns, and what ``datasets`` is told of them: ``images`` are decoded when a row is read."""
    import pyarrow as pa

    text = {"dtype": "string", "_type": "Value"}
    features = {"id": text, "messages": [{"role": text, "content": text}], "images": [{"_type": "Image"}], COLUMN: text}
    return pa.schema(
        [
            ("id", pa.string()),
            ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
            ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
            (COLUMN, pa.string()),
        ],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
