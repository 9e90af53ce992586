"""The rows of Parquet and Arrow files of Hugging Face; their pictures stay where they are.

A picture is a column of ``{bytes, path}`` (or of bytes), or a list of such. In a row it becomes the reference of the
bytes in the table (:mod:`skyeye.data.images.tables`), or its path where the table holds no bytes. The bytes themselves
are not read, whatever the size of a row group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from skyeye.data.formats.base.noted import note
from skyeye.data.images.reference import format_reference
from skyeye.data.images.tables import arrow_batches, open_parquet

SUFFIXES = (".parquet", ".arrow")
_ROWS = 256  # read at a time
_FEW = 8  # where the pictures have to be read with them


def iter_rows(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of each row of a table; in the place of pictures their references.

    Raises:
        SkyEyeError: pyarrow is not installed, or the file is no table.
    """
    path = Path(path)
    note("file", path)
    batches = _arrow(path) if path.suffix.lower() == ".arrow" else _parquet(path)
    number = 0
    for batch, inside in batches:
        pictures = [
            name for name, kind in zip(batch.schema.names, batch.schema.types, strict=True) if _is_picture(kind)
        ]
        pictures += [name for name in inside if name not in batch.schema.names]
        plain = batch.select([name for name in batch.schema.names if name not in pictures]).to_pylist()
        for offset in range(batch.num_rows):
            row = dict(plain[offset]) if plain else {}
            for name in pictures:
                held = batch.column(name)[offset] if name in batch.schema.names else None
                row[name] = _reference(path, name, number, held, inside.get(name))
            yield f"{path}, row {number}", row
            number += 1


def find_in(file: Path, find: Callable[[str, str], str]) -> Callable[[str, str], str]:
    """How the images of a table's rows are found: those inside it are its own references, others by their names.

    Args:
        find: (name, where) -> path of an image beside the table.
    """
    own = f"{file}#column="
    return lambda name, where: name if name.startswith(own) else find(name, where)


def _arrow(path: Path) -> Iterator[tuple[Any, dict[str, bool]]]:
    for batch in arrow_batches(str(path)):
        yield batch, {}


def _parquet(path: Path) -> Iterator[tuple[Any, dict[str, bool]]]:
    """Batches of rows without the bytes of their pictures, and of which columns these are all inside, or all not."""
    file = open_parquet(str(path))
    leaves = [file.schema.column(index) for index in range(len(file.schema.names))]
    bytes_of = {leaf.path.partition(".")[0]: index for index, leaf in enumerate(leaves) if _holds_bytes(leaf)}
    for group in range(file.num_row_groups):
        about = file.metadata.row_group(group)
        inside: dict[str, bool] = {}
        for name, index in bytes_of.items():
            absent, values = _absent(about.column(index)), about.column(index).num_values
            if absent in (0, values):
                inside[name] = absent == 0
        left_out = {bytes_of[name] for name in inside}
        columns = [leaf.path for index, leaf in enumerate(leaves) if index not in left_out]
        rows = _ROWS if len(inside) == len(bytes_of) else _FEW
        for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=columns):
            yield batch, inside


def _holds_bytes(leaf: Any) -> bool:
    return leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type == "NONE" and not leaf.path.endswith(".path")


def _absent(column: Any) -> int | None:
    """How many values of a column of a row group are null; None: the file does not say."""
    statistics = column.statistics
    return statistics.null_count if statistics is not None and statistics.has_null_count else None


def _is_picture(kind: Any) -> bool:
    """Whether a type is that of pictures: bytes, ``{bytes, path}``, or a list of these."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_picture(kind.value_type)
    if pa.types.is_struct(kind):
        return {field.name for field in kind} in ({"bytes", "path"}, {"path"})
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _reference(path: Path, name: str, row: int, held: Any, inside: bool | None) -> Any:
    """What a record calls a picture, or the pictures of a list; None where there is none."""
    if held is None:  # a column of nothing but bytes
        return _place(path, name, row) if inside else None
    if not held.is_valid:
        return None
    if hasattr(held, "values") and not hasattr(held, "keys"):
        listed = [_picture(path, name, row, number, one, inside) for number, one in enumerate(held.values)]
        return [one for one in listed if one is not None]
    return _picture(path, name, row, None, held, inside)


def _picture(path: Path, name: str, row: int, item: int | None, held: Any, inside: bool | None) -> str | None:
    if not held.is_valid:
        return None
    if not hasattr(held, "keys"):
        return _place(path, name, row, item)
    fields = set(held.keys())
    if held["bytes"].is_valid if "bytes" in fields else inside:
        return _place(path, name, row, item)
    return held["path"].as_py() if "path" in fields else None


def _place(path: Path, name: str, row: int, item: int | None = None) -> str:
    return format_reference(path, column=quote(name, safe=""), row=row, item=item)
