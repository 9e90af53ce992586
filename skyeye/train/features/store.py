"""The files of a feature cache: ``rows.bin``, rows of fixed size, and ``index.bin``, which picture each row is of.

Row n belongs to entry n. A batch of rows is appended as rows first, then, when they are on the disk, its entries; each
entry counts how many of its batch still follow. Whatever moment a writer is killed at, everything up to the last whole
batch is there, the rest is dropped by the next writer and never seen by a reader. A row's CRC-32 is compared when a
process first reads it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skyeye.data.locks import lock
from skyeye.errors import SkyEyeError
from skyeye.train.features.contents import NAME, Contents, is_sound, read_entries, signed
from skyeye.train.features.key import MANIFEST, read_manifest, refuse_other, row_bytes, row_shape, write_manifest

ROWS, INDEX, NAMES, LOCK = "rows.bin", "index.bin", "names.bin", "writer.lock"

#: An entry of ``index.bin``: digest of the picture, checksum of the row, how many entries of its batch follow.
ENTRY = np.dtype([("content", "V32"), ("row", "<u4"), ("follow", "<u4"), ("check", "<u4")])


class FeatureReader:
    """A cache to read from; any number of processes may, also while one writes.

    Args:
        folder: of the cache.
        made: what the features have to be made from, see :func:`~skyeye.train.features.key.made_from`; None takes them
            for whatever they are.
        repair: for a builder: take a ``rows.bin`` that was cut short as far as it goes; ``cut_off`` counts the rest.

    Raises:
        SkyEyeError: no cache, made from something else, or ``rows.bin`` is shorter than the index says.
    """

    def __init__(self, folder: str | Path, made: dict[str, Any] | None = None, *, repair: bool = False):
        self.folder, self.manifest = Path(folder), read_manifest(Path(folder))
        self._wanted, self._repair = made, repair
        if made is not None:
            refuse_other(self.folder, self.manifest["made_from"], made)
        self.patches, self.width, self.dtype = row_shape(self.manifest["made_from"])
        self.row_bytes = row_bytes(self.manifest["made_from"])
        self.contents = Contents(self.folder / NAMES)
        self.refresh()

    def __reduce__(self) -> tuple:
        return FeatureReader, (self.folder, self._wanted)  # a memory map does not travel to another process

    def __len__(self) -> int:
        return len(self._entries)

    def refresh(self) -> None:
        """Take in what was appended since."""
        entries, path = read_index(self.folder), self.folder / ROWS
        there = path.stat().st_size // self.row_bytes if path.is_file() else 0
        self._entries = entries[: _last_end(entries[:there])]
        rows = len(self._entries)
        self.cut_off = len(entries) - rows
        if self.cut_off and not self._repair:
            raise SkyEyeError(
                f"is cut short: {there} of {len(entries)} rows are there",
                where=str(path),
                remedy="`skyeye cache build` computes the missing ones again",
            )
        # of a picture that was computed twice, the later row counts: so a damaged one is replaced
        self._row_of = {content.tobytes(): row for row, content in enumerate(self._entries["content"])}
        shape = (rows, self.row_bytes)
        self._rows = np.memmap(path, np.uint8, "r", shape=shape) if rows else np.empty(shape, np.uint8)
        self._checked = np.zeros(rows, bool)

    def has(self, content: bytes) -> bool:
        """Whether there is a row for a picture of this digest."""
        return content in self._row_of

    def patches_of(self, references: Sequence[str]) -> torch.Tensor:
        """(N, patches, width) in the type of the cache: what the tower sees of these pictures.

        Raises:
            SkyEyeError: a picture is not in the cache, cannot be read, or its row is damaged.
        """
        out = torch.empty(len(references), self.row_bytes, dtype=torch.uint8)
        for place, reference in enumerate(references):
            content = self.contents.digest(reference)
            if not self.has(content):
                self.refresh()
            if not self.has(content):
                raise SkyEyeError(
                    f"this picture is not in the feature cache {self.folder}",
                    where=reference,
                    remedy="if the file was changed, start the run again: what is missing is computed before a stage",
                )
            row = self._row_of[content]
            if not self._checked[row]:
                if not self.is_sound(row):
                    raise SkyEyeError(
                        f"row {row} is damaged: its checksum is wrong",
                        where=str(self.folder / ROWS),
                        remedy="`skyeye cache build RECIPE --verify` computes damaged rows again",
                    )
                self._checked[row] = True
            out[place].numpy()[:] = self._rows[row]
        return out.view(self.dtype).view(len(references), self.patches, self.width)

    def is_sound(self, row: int) -> bool:
        """Whether a row has its checksum."""
        return zlib.crc32(self._rows[row]) == int(self._entries["row"][row])

    def content(self, row: int) -> bytes:
        """Digest of the picture of a row."""
        return self._entries["content"][row].tobytes()

    def rows(self) -> list[int]:
        """Numbers of the rows that count: one for each picture."""
        return sorted(self._row_of.values())


class FeatureWriter:
    """The one process that adds to a cache; makes it where there is none. To be used in a ``with`` statement.

    Args:
        made_with: for people: versions of the libraries, device.

    Raises:
        SkyEyeError: another process writes, the cache is made from something else, or the folder holds other things.
    """

    def __init__(self, folder: str | Path, made: dict[str, Any], made_with: dict[str, str]):
        self.folder, self.row_bytes = Path(folder), row_bytes(made)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unwritable(error, self.folder) from error
        try:
            self._take_lock()
            names = [entry.name for entry in self.folder.iterdir()]
            others = [name for name in names if name != LOCK and not name.endswith(".partial")]
            if others and MANIFEST not in others:
                what = f"is not empty and no feature cache: it holds {sorted(others)[0]}"
                raise SkyEyeError(what, where=str(self.folder), remedy="name a new folder")
            if not others:
                write_manifest(self.folder, made, made_with)
            refuse_other(self.folder, read_manifest(self.folder)["made_from"], made)
            self._drop_tail()
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)  # the lock goes with its file, also when the process is killed

    def append(self, contents: Sequence[bytes], rows: torch.Tensor) -> None:
        """Add a batch, whole or, when this is interrupted, not at all.

        Args:
            contents: digests of the pictures.
            rows: (N, patches, width) in the type of the cache, on the CPU.
        """
        raw = rows.contiguous().view(len(contents), -1).view(torch.uint8).numpy()
        follow = range(len(contents) - 1, -1, -1)
        lines = [(content, zlib.crc32(row), n, 0) for content, row, n in zip(contents, raw, follow, strict=True)]
        self._add(ROWS, raw.tobytes())
        self._add(INDEX, signed(np.array(lines, ENTRY)).tobytes())

    def remember(self, contents: Contents) -> None:
        """Keep the digests that were read since."""
        if contents.news:
            self._add(NAMES, np.stack(contents.news).tobytes())
            contents.news = []

    def _add(self, name: str, content: bytes) -> None:
        try:
            with open(self.folder / name, "ab", buffering=0) as file:
                left = memoryview(content)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(error, self.folder / name) from error

    def _take_lock(self) -> None:
        try:
            holder = lock(self._lock)
        except OSError as error:
            raise _unwritable(error, self.folder / LOCK) from error
        if holder is not None:
            raise SkyEyeError(
                f"another process is writing this feature cache: {holder}",
                where=str(self.folder),
                remedy="wait until it has ended; reading goes on meanwhile",
            )

    def _drop_tail(self) -> None:
        """Cut off what an interrupted writer left behind the last whole batch."""
        rows, index, names = (self.folder / name for name in (ROWS, INDEX, NAMES))
        entries = read_index(self.folder)
        there = rows.stat().st_size // self.row_bytes if rows.is_file() else 0
        kept = _last_end(entries[:there])
        known = len(read_entries(names, NAME)) * NAME.itemsize
        for path, size in ((index, kept * ENTRY.itemsize), (rows, kept * self.row_bytes), (names, known)):
            if path.is_file() and path.stat().st_size > size:
                os.truncate(path, size)


def read_index(folder: Path) -> np.ndarray:
    """The entries of a cache's index up to the end of its last whole batch.

    Raises:
        SkyEyeError: an entry is damaged, and not in the last batches, where an interrupted writer leaves bad ones.
    """
    path = folder / INDEX
    entries = read_entries(path, ENTRY)
    sound = is_sound(entries)
    first_bad = len(entries) if sound.all() else int(np.argmin(sound))
    # sound ends of batches behind the first bad entry; the last batch may have one: pages reach the disk in any order
    if np.any((sound & (entries["follow"] == 0))[first_bad:-1]):
        raise SkyEyeError(
            f"entry {first_bad} is damaged: its checksum is wrong",
            where=str(path),
            remedy="remove the folder and build the cache again",
        )
    return entries[: _last_end(entries[:first_bad])]


def _last_end(entries: np.ndarray) -> int:
    """How many entries there are up to the end of the last whole batch."""
    ends = np.flatnonzero(entries["follow"] == 0)
    return int(ends[-1]) + 1 if len(ends) else 0


def _unwritable(error: OSError, path: Path) -> SkyEyeError:
    what = f"cannot be written: {error.strerror or error}"
    return SkyEyeError(what, where=str(path), remedy="make room or choose another folder; what is there stays usable")
