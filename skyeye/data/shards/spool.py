"""First half of packing: records go to disk as they are read, then the images are read and named by their content.

Nothing here grows with the size of the set but files: a source's samples lie one after the other in ``.blob``, with a
row of fixed size each in ``.rows``; images are divided among units by a hash of their names.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from skyeye.config.schema import SourceConfig
from skyeye.data.files import write_json
from skyeye.data.formats import iter_source
from skyeye.data.formats.base.problems import Problem
from skyeye.data.shards.encode import source_bytes
from skyeye.data.shards.layout import SPLITS, TASKS, sample_json, token_estimate
from skyeye.errors import SkyEyeError

#: A record in ``.rows``: hash of its images' names, what it is, and where its texts lie in ``.blob``.
ROW = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("task", "u1"),
        ("split", "u1"),
        ("tokens", "<u4"),
        ("offset", "<u8"),
        ("images_size", "<u4"),
        ("size", "<u4"),
    ]
)
#: A record and the entry it belongs to; a picture and one place where it is named; a frame of an entry.
SAMPLE = np.dtype([("high", "<u8"), ("low", "<u8"), ("source", "<u2"), ("row", "<u4")])
PICTURE = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("size", "<u8"), ("source", "<u2"), ("row", "<u4"), ("place", "<u2")]
)
FRAME = np.dtype([("high", "<u8"), ("low", "<u8"), ("place", "<u2"), ("key_high", "<u8"), ("key_low", "<u8")])

ROWS_AT_ONCE = 4096


def halves(digest: bytes) -> tuple[int, int]:
    """128 bits as two numbers."""
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")


def spool_source(work: Path, number: int, name: str, source: SourceConfig) -> None:
    """Write the records of a source to ``work/s<number>.blob`` and ``.rows``; ``.json`` says that they are complete."""
    path = Path(source.path)
    roots = [Path(source.images) if source.images else path, path if path.is_dir() else path.parent]
    prefixes = [f"{root}/" for root in roots]
    stem = work / f"s{number:05d}"
    rows, row, offset, images, system_turns = np.zeros(ROWS_AT_ONCE, ROW), 0, 0, 0, 0
    kinds: Counter[str] = Counter()
    with (
        open(stem.with_suffix(".blob"), "wb") as blob,
        open(stem.with_suffix(".rows"), "wb") as table,
        open(stem.with_suffix(".skipped"), "w", encoding="utf-8", errors="backslashreplace") as skipped,
    ):
        for item in iter_source(source, name):
            if isinstance(item, Problem):
                kinds[item.kind] += item.count
                skipped.write(f"{name}\t{_line(item.kind)}\t{_line(item)}\n")
                continue
            where = _short(item.where, prefixes)
            if item.task not in TASKS or item.split not in SPLITS:
                raise SkyEyeError(f"unknown task {item.task!r} or split {item.split!r}", where=where)
            named = json.dumps(item.images).encode()
            text = sample_json(item, name, row, where, [_short(image, prefixes) for image in item.images])
            # a text-only sample shares its entry with no other
            identity = named if item.images else f"text {name} {row}".encode()
            high, low = halves(hashlib.blake2b(identity, digest_size=16).digest())
            task, split = TASKS.index(item.task), SPLITS.index(item.split)
            rows[row % ROWS_AT_ONCE] = (
                high, low, task, split, token_estimate(item.turns), offset, len(named), len(text)
            )  # fmt: skip
            blob.write(named)
            blob.write(text)
            offset += len(named) + len(text)
            images += len(item.images)
            system_turns += item.turns[0].system is not None
            row += 1
            if row % ROWS_AT_ONCE == 0:
                table.write(rows.tobytes())
        table.write(rows[: row % ROWS_AT_ONCE].tobytes())
    found = {"records": row, "bytes": offset, "skipped": dict(kinds), "system_turns": system_turns}
    write_json(stem.with_suffix(".json"), found)


class Spool:
    """The spooled sources: their rows, and their texts by row."""

    def __init__(self, work: Path, sources: int):
        self.rows: list[np.ndarray] = []
        self._blobs = []
        for number in range(sources):
            stem = work / f"s{number:05d}"
            empty = stem.with_suffix(".rows").stat().st_size == 0
            self.rows.append(np.zeros(0, ROW) if empty else np.memmap(stem.with_suffix(".rows"), dtype=ROW, mode="r"))
            self._blobs.append(open(stem.with_suffix(".blob"), "rb", buffering=0))  # noqa: SIM115  closed with the object

    def images(self, source: int, row: int) -> list[str]:
        """Names of a record's images, as its reader gave them."""
        at = self.rows[source][row]
        return json.loads(os.pread(self._blobs[source].fileno(), int(at["images_size"]), int(at["offset"])))

    def sample(self, source: int, row: int) -> bytes:
        """JSON of a record."""
        at = self.rows[source][row]
        first = int(at["offset"]) + int(at["images_size"])
        return os.pread(self._blobs[source].fileno(), int(at["size"]), first)


def identify(work: Path, unit: int, units: int, names: list[str], decode: bool = False) -> None:
    """Read the images whose names hash to this unit; write which entry each of their records belongs to.

    Writes ``u<unit>.samples.npy``, ``.pictures.npy`` and ``.frames.npy``, each ordered by key, and ``.json``. Records
    whose image cannot be read are skipped and listed.

    Args:
        decode: pictures are written anew, so each must be decodable; else a header that can be read is enough.
    """
    spool = Spool(work, len(names))
    mine = []
    for source, rows in enumerate(spool.rows):
        chosen = np.flatnonzero(rows["high"] % np.uint64(units) == unit)
        part = np.zeros(len(chosen), SAMPLE)
        part["high"], part["low"] = rows["high"][chosen], rows["low"][chosen]
        part["source"], part["row"] = source, chosen
        mine.append(part)
    samples = sort_by(np.concatenate(mine), "high", "low", "source", "row")
    new = np.ones(len(samples), bool)
    new[1:] = (samples["high"][1:] != samples["high"][:-1]) | (samples["low"][1:] != samples["low"][:-1])
    starts = np.flatnonzero(new).tolist()

    digests: dict[str, tuple[int, int, int]] = {}
    pictures: list[tuple[int, ...]] = []
    frames: list[tuple[int, ...]] = []
    keep = np.ones(len(samples), bool)
    skipped: list[str] = []
    for start, end in pairwise([*starts, len(samples)]):
        source, row = int(samples["source"][start]), int(samples["row"][start])
        shown = spool.images(source, row)
        try:
            for place, image in enumerate(shown):
                if image not in digests:
                    content = source_bytes(image)
                    _check(image, decode)
                    digests[image] = (*halves(hashlib.sha256(content).digest()), len(content))
                pictures.append((*digests[image], source, row, place))
        except SkyEyeError as error:
            keep[start:end] = False
            for other in samples[start:end]:
                place = json.loads(spool.sample(int(other["source"]), int(other["row"])))["where"]
                skipped.append(f"{names[other['source']]}\tunreadable image\t{_line(f'{place}: {error}')}\n")
            continue
        keys = [digests[image][:2] for image in shown]
        if not shown:
            entry = halves(hashlib.sha256(f"text {names[source]} {row}".encode()).digest())
        elif len(shown) == 1:
            entry = keys[0]
        else:
            entry = halves(hashlib.sha256("frames {}".format(" ".join(map(str, keys))).encode()).digest())
            frames += [(*entry, place, *key) for place, key in enumerate(keys)]
        samples["high"][start:end], samples["low"][start:end] = entry
    stem = work / f"u{unit:05d}"
    found = first_of_each(np.array(pictures, PICTURE), ["high", "low"], ["source", "row", "place"])
    np.save(stem.with_suffix(".pictures.npy"), found)
    np.save(stem.with_suffix(".frames.npy"), first_of_each(np.array(frames, FRAME), ["high", "low", "place"], []))
    np.save(stem.with_suffix(".samples.npy"), sort_by(samples[keep], "high", "low", "source", "row"))
    stem.with_suffix(".skipped").write_text("".join(skipped), encoding="utf-8", errors="backslashreplace")
    bad = Counter(line.split("\t", 1)[0] for line in skipped)
    write_json(stem.with_suffix(".json"), {"bytes": int(found["size"].sum()), "named": len(digests), "skipped": bad})


def _check(image: str, decode: bool) -> None:
    """Raises :class:`SkyEyeError` for what is no picture: an empty file, a web page, one that cannot be decoded."""
    from skyeye.data.images.load import image_size, load_image

    if decode:
        load_image(image)
    else:
        image_size(image)


def sort_by(array: np.ndarray, *names: str) -> np.ndarray:
    """A structured array ordered by the named columns, the first counting most."""
    return array[np.lexsort([array[name] for name in reversed(names)])]


def first_of_each(array: np.ndarray, key: list[str], order: list[str]) -> np.ndarray:
    """The array ordered by ``key``, of each key the row that comes first by ``order``."""
    array = sort_by(array, *key, *order)
    new = np.ones(len(array), bool)
    new[1:] = np.logical_or.reduce([array[name][1:] != array[name][:-1] for name in key])
    return array[new]


def in_range(array: np.ndarray, low: int, high: int) -> np.ndarray:
    """The rows of an array ordered by key whose ``high`` half is in low..high-1."""
    column = array["high"]
    first = np.searchsorted(column, np.uint64(low))
    last = len(column) if high > 2**64 - 1 else np.searchsorted(column, np.uint64(high))
    return array[first:last]


def _short(text: str, prefixes: Iterable[str]) -> str:
    """Names as they are inside the data set: where it lies on this machine is no part of it."""
    return next((text.removeprefix(prefix) for prefix in prefixes if text.startswith(prefix)), text)


def _line(value: object) -> str:
    return " ".join(str(value).split())
