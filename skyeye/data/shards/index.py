"""A shard set, opened: its index in memory maps, its entries by number, nothing read through."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from skyeye.data.images.reference import format_reference
from skyeye.data.shards.layout import (
    COLUMN_FOLDER,
    ENTRY_COLUMNS,
    FORMAT,
    HEADER,
    PART_COLUMNS,
    VERSION,
    key_text,
    parse_key,
)
from skyeye.data.shards.remote import Origin, is_url
from skyeye.data.shards.write import sha256_of
from skyeye.errors import SkyEyeError

OPEN_FILES = 64
_HEADER_BYTES = 256 << 20
_AGAIN = "pack it again, or copy it again from where it came"
_SHARD_NAME = re.compile(r"shard-\d{5,9}\.tar")
_LISTS = {"tasks": str, "splits": str, "sources": dict, "shards": dict}


class ShardSet:
    """A folder written by :func:`skyeye.data.shards.pack.pack`, or such a folder behind a URL.

    Opening reads the header and checks the index against its checksums; a shard's file is opened when something in it
    is asked for. Copies in other processes open their own files.

    Args:
        path: folder or URL (http, https, gs, ...; see docs/shards.md).
        cache: for URLs, the folder that keeps what was fetched; default ``~/.cache/skyeye/shards``.

    Attributes:
        header: the content of ``index.json``.
        entry, part: name -> column (:data:`ENTRY_COLUMNS`, :data:`PART_COLUMNS`).
        fingerprint: checksum of the index, and through it of every shard.

    Raises:
        SkyEyeError: not a shard set, not finished, of a newer version, or damaged.
    """

    def __init__(self, path: str | Path, cache: str | Path | None = None):
        self.path, self._cache = str(path), cache
        self._origin = Origin(str(path), cache) if is_url(str(path)) else None
        self.folder = self._origin.folder if self._origin else Path(path)
        self.header = _header(self._origin.fetch(HEADER) if self._origin else self.folder / HEADER)
        self.shards: list[dict[str, Any]] = self.header["shards"]
        self.tasks: list[str] = self.header["tasks"]
        self.splits: list[str] = self.header["splits"]
        self.sources: list[str] = [source["name"] for source in self.header["sources"]]
        self.entry = self._columns("entry", ENTRY_COLUMNS, self.header["entries"])
        self.part = self._columns("part", PART_COLUMNS, self.header["parts"])
        self._check()
        identity = [{k: s[k] for k in ("name", "sha256")} for s in self.shards], self.header["columns"]
        self.fingerprint = _digest(identity)
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()

    def __reduce__(self) -> tuple[type[ShardSet], tuple[str, str | Path | None]]:
        return ShardSet, (self.path, self._cache)

    def __len__(self) -> int:
        return self.header["entries"]

    def content(self, entry: int) -> dict[str, Any]:
        """The JSON of an entry: ``key``, ``images`` (keys) and ``samples``.

        Raises:
            SkyEyeError: the shard is missing, cut off or damaged.
        """
        shard, offset, size = (int(self.entry[name][entry]) for name in ("shard", "json_offset", "json_size"))
        where = f"{self.file(shard)}, entry {self.key(entry)}"
        try:
            text = os.pread(self._open(shard).fileno(), size, offset)
        except OSError as error:
            raise SkyEyeError(f"cannot be read: {error.strerror}", where=where, remedy=_AGAIN) from error
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _damaged(where) from error
        expected = isinstance(content, dict) and content.get("key") == self.key(entry)
        if not expected or not all(isinstance(content.get(name), list) for name in ("images", "samples")):
            raise _damaged(where)
        return content

    def key(self, entry: int) -> str:
        return key_text(int(self.entry["key_high"][entry]), int(self.entry["key_low"][entry]))

    def find(self, key: str) -> int:
        """Number of the entry with a key.

        Raises:
            SkyEyeError: there is none.
        """
        try:
            high, low = parse_key(key)
            at = int(np.searchsorted(self.entry["key_high"], np.uint64(high)))
            while at < len(self) and int(self.entry["key_high"][at]) == high:
                if int(self.entry["key_low"][at]) == low:
                    return at
                at += 1
        except (ValueError, TypeError):
            pass  # not even a key: told in the same words
        raise SkyEyeError(f"has no entry {str(key)[:40]}", where=str(self.folder), remedy=_AGAIN)

    def image(self, entry: int) -> str:
        """Reference string of an entry's image (:mod:`skyeye.data.images.reference`)."""
        shard, offset, size = (int(self.entry[name][entry]) for name in ("shard", "image_offset", "image_size"))
        if not size:
            raise _damaged(f"{self.file(shard)}, entry {self.key(entry)}")
        return format_reference(self.file(shard), offset=offset, size=size)

    def file(self, shard: int) -> Path:
        """A shard's tar file; one behind a URL is fetched first."""
        about = self.shards[shard]
        return self._origin.fetch(about["name"], about) if self._origin else self.folder / about["name"]

    def damaged_shards(self) -> list[str]:
        """Names of the shards whose bytes are not those that were packed; reads all of them."""
        return [about["name"] for n, about in enumerate(self.shards) if sha256_of(self.file(n)) != about["sha256"]]

    def _open(self, shard: int) -> BinaryIO:
        if shard in self._files:
            self._files.move_to_end(shard)
        else:
            self._files[shard] = open(self.file(shard), "rb", buffering=0)  # noqa: SIM115  kept open between reads
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        return self._files[shard]

    def _columns(self, kind: str, dtypes: dict[str, str], length: int) -> dict[str, np.ndarray]:
        columns = {}
        for name, dtype in dtypes.items():
            about = self.header["columns"].get(f"{kind}.{name}")
            file = f"{COLUMN_FOLDER}/{kind}.{name}.npy"
            if about is None:
                raise _damaged(str(self.folder / HEADER))
            path = self._origin.fetch(file, about) if self._origin else self.folder / file
            try:
                if sha256_of(path) != about["sha256"]:
                    raise SkyEyeError("is not what was packed: its checksum differs", where=str(path), remedy=_AGAIN)
                column = np.load(path, mmap_mode="r", allow_pickle=False)
            except SkyEyeError:
                raise
            except Exception as error:  # numpy reads a header with Python's tokenizer, which raises its own
                reason = getattr(error, "strerror", None) or error
                raise SkyEyeError(f"cannot be read: {reason}", where=str(path), remedy=_AGAIN) from error
            if column.dtype != np.dtype(dtype) or column.shape != (length,):
                raise SkyEyeError(
                    f"holds {column.dtype} {column.shape} instead of {dtype} ({length},)",
                    where=str(path),
                    remedy=_AGAIN,
                )
            columns[name] = column
        return columns

    def _check(self) -> None:
        """Every number of the index points to something that exists."""
        sizes = np.array([about["bytes"] for about in self.shards], np.uint64)
        for number, about in enumerate(self.shards if self._origin is None else ()):
            path = self.folder / about["name"]
            found = path.stat().st_size if path.is_file() else None
            if found != about["bytes"]:
                what = "is missing" if found is None else f"has {found} bytes where {about['bytes']} were packed"
                raise SkyEyeError(what, where=str(path), remedy=f"{_AGAIN} (shard {number + 1} of {len(self.shards)})")
        entry, part = self.entry, self.part
        sound = (
            entry["shard"].max() < len(self.shards)
            and part["source"].max() < len(self.sources)
            and part["split"].max() < len(self.splits)
            and part["entry"].max() < len(self)
        )
        for offset, size in (("image_offset", "image_size"), ("json_offset", "json_size")) if sound else ():
            room = sizes[entry["shard"]]
            sound &= bool(((entry[offset] <= room) & (entry[size] <= room - np.minimum(entry[offset], room))).all())
        if not sound:
            raise _damaged(str(self.folder / COLUMN_FOLDER))


def _header(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        header = json.loads(path.read_text(encoding="utf-8")) if size <= _HEADER_BYTES else None
    except FileNotFoundError as error:
        started = next(path.parent.glob("*.packing"), None) if path.parent.is_dir() else None
        what = "is a shard set that was not finished" if started else f"is no shard set: it has no {path.name}"
        remedy = "run the same `skyeye data pack` again" if started else "write one: skyeye data pack"
        raise SkyEyeError(what, where=str(path.parent), remedy=remedy) from error
    except OSError as error:
        raise SkyEyeError(f"cannot be read: {error.strerror}", where=str(path), remedy=_AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(str(path)) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise SkyEyeError("is not the index of a shard set", where=str(path), remedy=_AGAIN)
    if header.get("version") != VERSION:
        raise SkyEyeError(
            f"has version {header.get('version')!r}; this skyeye reads version {VERSION}",
            where=str(path),
            remedy="pack it again with this version",
        )
    counts = all(isinstance(header.get(name), int) and header[name] > 0 for name in ("entries", "parts"))
    lists = all(
        isinstance(header.get(name), list) and header[name] and all(isinstance(item, kind) for item in header[name])
        for name, kind in _LISTS.items()
    )
    if not counts or not lists or not isinstance(header.get("columns"), dict):
        raise _damaged(str(path))
    # the file may come from anywhere, and its names become paths
    named = all(_SHARD_NAME.fullmatch(str(about.get("name"))) for about in header["shards"])
    described = all(map(_is_file, [*header["shards"], *header["columns"].values()]))
    if not named or not described or not all(map(_is_source, header["sources"])):
        raise _damaged(str(path))
    return header


def _is_source(about: dict[str, Any]) -> bool:
    return isinstance(about.get("name"), str) and isinstance(about.get("system_turns", 0), int)


def _is_file(about: Any) -> bool:
    return (
        isinstance(about, dict)
        and isinstance(about.get("bytes"), int)
        and 0 <= about["bytes"] < 2**63
        and re.fullmatch(r"[0-9a-f]{64}", str(about.get("sha256"))) is not None
    )


def _damaged(where: str) -> SkyEyeError:
    return SkyEyeError("is damaged: it does not hold what the index says", where=where, remedy=_AGAIN)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
