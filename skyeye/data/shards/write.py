"""Second half of packing: the entries of one range of keys become one tar file, and all of them together an index."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from skyeye.data.files import whole_file, write_json
from skyeye.data.shards.encode import Encoding, encode, extension, source_bytes
from skyeye.data.shards.layout import (
    COLUMN_FOLDER,
    ENTRY,
    ENTRY_COLUMNS,
    HEADER,
    PART,
    PART_COLUMNS,
    key_text,
    shard_name,
)
from skyeye.data.shards.spool import Spool, first_of_each, halves, in_range, sort_by
from skyeye.errors import SkyEyeError

_BLOCK = 512


class TarWriter:
    """Members of a tar file one after the other; the same members give the same bytes at any time on any machine."""

    def __init__(self, file: BinaryIO):
        self._file, self._at, self._digest = file, 0, hashlib.sha256()

    def add(self, name: str, content: bytes) -> int:
        """Append a member; returns where its content begins."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o644
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        at = self._at
        self._write(content)
        self._write(bytes(-len(content) % _BLOCK))
        return at

    def finish(self) -> tuple[int, str]:
        """Write the end of the archive; returns size and SHA-256 of the whole file."""
        self._write(bytes(2 * _BLOCK))
        self._write(bytes(-self._at % tarfile.RECORDSIZE))
        return self._at, self._digest.hexdigest()

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self._at += len(content)


def write_shard(
    out: Path, work: Path, number: int, shards: int, units: int, names: list[str], encoding: Encoding | None
) -> None:
    """Write one shard: all entries whose key falls into the ``number``-th of ``shards`` equal ranges, ordered by key.

    Beside the tar file, ``work/d<number>.json`` keeps its size and checksum, ``.entries.npy`` and ``.parts.npy`` its
    share of the index.
    """
    bounds = [-(-k * 2**64 // shards) for k in (number, number + 1)]

    def gather(what: str) -> np.ndarray:
        files = [np.load(work / f"u{unit:05d}.{what}.npy", mmap_mode="r") for unit in range(units)]
        return np.concatenate([in_range(file, *bounds) for file in files])

    samples = sort_by(gather("samples"), "high", "low", "source", "row")
    pictures = first_of_each(gather("pictures"), ["high", "low"], ["source", "row", "place"])
    frames: dict[tuple[int, int], list[str]] = {}
    for high, low, _, key_high, key_low in first_of_each(gather("frames"), ["high", "low", "place"], []).tolist():
        frames.setdefault((high, low), []).append(key_text(key_high, key_low))

    spool = Spool(work, len(names))
    pictured = {(high, low): (source, row, place) for high, low, _, source, row, place in pictures.tolist()}
    asked: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for high, low, source, row in samples.tolist():
        asked.setdefault((high, low), []).append((source, row))
    entries: list[tuple[int, ...]] = []
    parts: list[tuple[int, ...]] = []
    with whole_file(out / shard_name(number)) as file:
        tar = TarWriter(file)
        for key in sorted(pictured.keys() | asked.keys()):
            name, members = key_text(*key), asked.get(key, ())
            at, size = 0, 0
            if key in pictured:
                content, suffix = _picture(spool, *pictured[key], key, encoding)
                at, size = tar.add(f"{name}.{suffix}", content), len(content)
            shown = [name] if key in pictured else frames.get(key, [])
            text = _entry_json(name, shown, (spool.sample(*member) for member in members))
            parts += _parts(spool, members, len(entries))
            entries.append((*key, number, at, size, tar.add(f"{name}.json", text), len(text), len(members)))
        length, digest = tar.finish()
        np.save(work / f"d{number:05d}.entries.npy", np.array(entries, ENTRY))
        np.save(work / f"d{number:05d}.parts.npy", np.array(parts, PART))
        write_json(work / f"d{number:05d}.json", {"bytes": length, "sha256": digest, "entries": len(entries)})


def finished_shard(out: Path, work: Path, number: int) -> bool:
    """Whether a shard of an earlier attempt is there and is what was written then."""
    known, path = work / f"d{number:05d}.json", out / shard_name(number)
    if not known.is_file() or not path.is_file():
        return False
    expected = json.loads(known.read_text(encoding="utf-8"))
    return path.stat().st_size == expected["bytes"] and sha256_of(path) == expected["sha256"]


def write_index(out: Path, work: Path, shards: int, header: dict[str, Any]) -> dict[str, Any]:
    """Join the shards' shares of the index; the header, which makes the set complete, is written last."""
    entries, parts, listed, before = [], [], [], 0
    for number in range(shards):
        entries.append(np.load(work / f"d{number:05d}.entries.npy"))
        part = np.load(work / f"d{number:05d}.parts.npy")
        part["entry"] += before
        parts.append(part)
        before += len(entries[-1])
        listed.append({"name": shard_name(number), **json.loads((work / f"d{number:05d}.json").read_text())})
    all_entries, all_parts = np.concatenate(entries), sort_by(np.concatenate(parts), "source", "first", "split")
    folder = out / COLUMN_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    columns = {}
    for kind, table, known in (("entry", all_entries, ENTRY_COLUMNS), ("part", all_parts, PART_COLUMNS)):
        for name in known:
            path = folder / f"{kind}.{name}.npy"
            with whole_file(path) as file:
                np.save(file, np.ascontiguousarray(table[name]))
            columns[f"{kind}.{name}"] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    for number, source in enumerate(header["sources"]):
        mine = all_parts[all_parts["source"] == number]
        source |= {"samples": int(mine["records"].sum()), "groups": len(np.unique(mine["entry"]))}
    header = {
        **header,
        "entries": len(all_entries),
        "images": int(np.count_nonzero(all_entries["image_size"])),
        "samples": int(all_parts["records"].sum()),
        "parts": len(all_parts),
        "shards": listed,
        "columns": columns,
    }
    with whole_file(out / HEADER) as file:
        file.write(json.dumps(header, indent=1).encode() + b"\n")
    return header


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _picture(
    spool: Spool, source: int, row: int, place: int, key: tuple[int, int], encoding: Encoding | None
) -> tuple[bytes, str]:
    reference = spool.images(source, row)[place]
    content = source_bytes(reference)
    if halves(hashlib.sha256(content).digest()) != key:
        raise SkyEyeError("the image changed while it was packed", where=reference, remedy="pack into a new folder")
    if encoding is not None:
        content = encode(reference, encoding)
    return content, extension(content, reference)


def _entry_json(name: str, images: list[str], samples: Iterable[bytes]) -> bytes:
    head = json.dumps({"key": name, "images": images}, separators=(",", ":")).encode()
    return head[:-1] + b',"samples":[' + b",".join(samples) + b"]}"


def _parts(spool: Spool, members: Iterable[tuple[int, int]], entry: int) -> list[tuple[int, ...]]:
    """What each split of each source has in an entry: source, split, entry, first, records, tasks, tokens."""
    found: dict[tuple[int, int], list[int]] = {}
    for source, row in members:  # in the order of the source, so the first is the first
        about = spool.rows[source][row]
        part = found.setdefault((source, int(about["split"])), [row, 0, 0, 0])
        part[1] += 1
        part[2] |= 1 << int(about["task"])
        part[3] += int(about["tokens"])
    return [(source, split, entry, *part) for (source, split), part in found.items()]
