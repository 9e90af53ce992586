"""A shard set on disk: its names, the columns of its index, the JSON of a sample. See docs/shards.md."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import Mention, Record, Region, Turn
from skyeye.data.tasks import TASKS as KNOWN_TASKS

FORMAT, VERSION = "skyeye-shards", 2
HEADER = "index.json"  # written last: a folder without it is not finished
COLUMN_FOLDER = "index"
SKIPPED = "skipped.txt"
SOURCES = "sources.yaml"

TASKS = tuple(KNOWN_TASKS)
SPLITS = ("train", "val", "test")

#: One value per entry; entries are ordered by key, through all shards. A key is 128 bits of SHA-256: of the image's
#: bytes; for frames, of their keys. ``image_size`` is 0 where an entry has no image of its own.
ENTRY_COLUMNS = {
    "key_high": "<u8",
    "key_low": "<u8",
    "shard": "<u4",
    "image_offset": "<u8",
    "image_size": "<u8",
    "json_offset": "<u8",
    "json_size": "<u4",
    "samples": "<u4",
}
#: One value per part: the samples that one split of one source has in one entry. Ordered by source and by ``first``,
#: the place of the part's first record in its source. ``tasks`` has bit t set for the t-th of the header's tasks.
PART_COLUMNS = {
    "source": "<u2",
    "split": "u1",
    "entry": "<u4",
    "first": "<u4",
    "records": "<u4",
    "tasks": "<u4",
    "tokens": "<u4",
}
ENTRY = np.dtype(list(ENTRY_COLUMNS.items()))
PART = np.dtype(list(PART_COLUMNS.items()))


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.tar"


def key_text(high: int, low: int) -> str:
    """A key as 32 hexadecimal digits: the name of its entry in the tar file."""
    return f"{high:016x}{low:016x}"


def parse_key(text: str) -> tuple[int, int]:
    """The two halves of a key.

    Raises:
        ValueError: not 32 hexadecimal digits.
    """
    if len(text) != 32:
        raise ValueError(f"{text[:40]!r} is no key")
    return int(text[:16], 16), int(text[16:], 16)


def token_estimate(turns: Iterable[Turn]) -> int:
    """Tokens of a sample without its image, roughly: a quarter of the characters, and eight of markup a turn."""
    return sum((len(turn.question) + len(turn.answer)) // 4 + 8 for turn in turns)


def sample_json(record: Record, source: str, index: int, where: str, names: Iterable[str]) -> bytes:
    """A record without its images as one line of JSON.

    Args:
        source: the record's source in the set, as the recipe calls it; ``record.source`` is kept as ``dataset``.
        index: the record's place in its source.
        where, names: original file with record, and original image names.
    """
    sample: dict[str, Any] = {
        "source": source,
        "index": index,
        "id": record.id,
        "dataset": record.source,
        "task": record.task,
        "split": record.split,
        "turns": [turn_json(turn) for turn in record.turns],
    }
    if record.references:
        sample["references"] = record.references
    if record.regions:
        sample["regions"] = [region_json(region) for region in record.regions]
    sample |= {"where": where, "names": list(names)}
    return json.dumps(sample, separators=(",", ":")).encode()


def record_of(sample: dict[str, Any], images: tuple[str, ...]) -> Record:
    """The record of a sample's JSON.

    Raises:
        KeyError, TypeError: it is not what :func:`sample_json` writes.
    """
    regions = sample.get("regions", ())
    return Record(
        id=sample["id"],
        source=sample["dataset"],
        task=sample["task"],
        split=sample["split"],
        images=images,
        turns=tuple(turn_of(turn) for turn in sample["turns"]),
        references=sample.get("references", {}),
        regions=tuple(region_of(region) for region in regions),
        where=sample["where"],
    )


def turn_json(turn: Turn) -> dict[str, Any]:
    """A turn as JSON."""
    written: dict[str, Any] = {"question": turn.question, "answer": turn.answer, "task": turn.task}
    if turn.system is not None:
        written["system"] = turn.system
    if turn.mentions:
        written["mentions"] = [
            {"boxes": [list(box) for box in mention.boxes]}
            | ({} if mention.phrase is None else {"phrase": mention.phrase})
            for mention in turn.mentions
        ]
    return written


def region_json(region: Region) -> dict[str, Any]:
    """A region as JSON."""
    return {key: value for key, value in vars(region).items() if value is not None}


def region_of(region: dict[str, Any]) -> Region:
    """The region of its JSON."""
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in region.items()}
    return Region(**values)


def turn_of(written: dict[str, Any]) -> Turn:
    """The turn of its JSON."""
    mentions = tuple(
        Mention(tuple(_box_of(box) for box in mention["boxes"]), mention.get("phrase"))
        for mention in written.get("mentions", ())
    )
    return Turn(written["question"], written["answer"], written["task"], mentions, written.get("system"))


def _box_of(numbers: list[float]) -> Box | OrientedBox:
    return OrientedBox(*numbers) if len(numbers) == 8 else Box(*numbers)
