"""Records in a compact form: their texts in one run of bytes, their places and kinds as columns of numbers.

Half a million records are a hundred megabytes in a few arrays, which processes share, instead of millions of objects.
The columns can lie in memory or in a mapped file (:mod:`skyeye.data.source_index`).
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyeye.data.record import Group, Record, Region, Turn
from skyeye.data.shards.layout import region_json, region_of, turn_json, turn_of
from skyeye.errors import SkyEyeError

#: Name -> type of the columns. One value per record: number of its task and split, whether it has regions, where its
#: text ends. ``order``: numbers of the records, group after group; ``group_end``: where a group ends in it;
#: ``images_end``: where the names of a group's images end.
COLUMNS = {
    "task": "u1",
    "split": "u1",
    "regions": "?",
    "text_end": "<u8",
    "order": "<u4",
    "group_end": "<u4",
    "images_end": "<u8",
}
_SAID = 1000  # texts that are encoded together
_encode, _quoted = json.JSONEncoder(separators=(",", ":")).encode, json.encoder.encode_basestring_ascii


@dataclass(frozen=True)
class Table:
    """The groups of :func:`~skyeye.data.record.group_by_image`, made when they are asked for.

    Attributes:
        columns: of :data:`COLUMNS`.
        texts: JSON of the records, one behind the other.
        images: JSON of the images of the groups, likewise.
        tasks, splits: names of the numbers in the columns, in the order of their first appearance.
        system_turns: records that open with words of the system.
        fingerprint: of the questions and answers, in the order in which they were read.
    """

    columns: dict[str, np.ndarray]
    texts: bytearray | memoryview
    images: bytearray | memoryview
    tasks: list[str]
    splits: list[str]
    system_turns: int
    fingerprint: str

    @property
    def records(self) -> int:
        return len(self.columns["task"])

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.columns["group_end"])

    def members(self, group: int) -> np.ndarray:
        """Numbers of the records of a group, in order."""
        ends = self.columns["group_end"]
        return self.columns["order"][int(ends[group - 1]) if group else 0 : int(ends[group])]

    def group(self, number: int) -> Group:
        """A group with its records.

        Raises:
            SkyEyeError: the file that the table lies in was damaged.
        """
        images = self.group_images(number)
        members = self.members(number).tolist()
        return Group(images, tuple(_record(value, images) for value in self._values(members)))

    def group_images(self, number: int) -> tuple[str, ...]:
        """The images of a group."""
        return tuple(_parsed(_piece(self.images, self.columns["images_end"], number)))

    def group_regions(self, number: int) -> list[tuple[Region, ...]]:
        """The regions of each record of a group."""
        members = self.members(number)
        if not self.columns["regions"][members].any():
            return [()] * len(members)
        return [tuple(map(region_of, value[6])) for value in self._values(members.tolist())]

    def _values(self, members: Sequence[int]) -> list[list[Any]]:
        ends = self.columns["text_end"]
        return _parsed(b"[" + b",".join(_piece(self.texts, ends, member) for member in members) + b"]")


def build_table(records: Iterable[Record]) -> Table:
    """The table of records; what their ``references`` hold must be JSON."""
    building = Building()
    for record in records:
        building.add(record)
    return building.table()


class Building:
    """What is known of the table while records come in."""

    def __init__(self) -> None:
        self.tasks: dict[str, int] = {}
        self.splits: dict[str, int] = {}
        self.groups: dict[object, int] = {}
        self.task, self.split, self.regions = bytearray(), bytearray(), bytearray()
        self.text_end, self.group_of, self.images_end = array("Q"), array("I"), array("Q")
        self.texts, self.images = bytearray(), bytearray()
        self.system_turns, self.kinds = 0, dict[tuple[str, ...], str]()
        self.said: list[str] = []  # what the fingerprint is of
        self.said_before = bytearray()

    def add(self, record: Record) -> None:
        """Append a record to the columns, its text to the texts."""
        group = self.groups.setdefault(record.images or len(self.task), len(self.groups))
        if group == len(self.images_end):
            self.images += _encode(record.images).encode()
            self.images_end.append(len(self.images))
        self.group_of.append(group)
        self.task.append(self.tasks.setdefault(record.task, len(self.tasks)))
        self.split.append(self.splits.setdefault(record.split, len(self.splits)))
        self.regions.append(bool(record.regions))
        self.said.append(record.id)
        turns = ",".join([self.turn(turn) for turn in record.turns])
        if len(self.said) > _SAID:
            self._encode_said()
        self.system_turns += bool(record.turns) and record.turns[0].system is not None
        regions = _encode([region_json(region) for region in record.regions]) if record.regions else "[]"
        kind = record.source, record.task, record.split
        about = self.kinds.get(kind) or self.kinds.setdefault(kind, ",".join(map(_quoted, kind)))
        id, where, references = _quoted(record.id), _quoted(record.where), _references(record.references)
        self.texts += f"[{id},{about},{where},[{turns}],{regions},{references}]".encode()
        self.text_end.append(len(self.texts))

    def turn(self, turn: Turn) -> str:
        """The JSON of a turn; what it says is noted for the fingerprint."""
        question, answer, task, mentions = turn.question, turn.answer, turn.task, turn.mentions
        self.said.append(f"\0{task}\0{question}\0{answer}\0{mentions}")
        if turn.system is None and not mentions:
            return f"[{_quoted(question)},{_quoted(answer)},{_quoted(task)}]"
        if turn.system is not None:
            self.said.append(f"\0{turn.system}")
        return _encode(turn_json(turn))

    def append(self, other: Building) -> None:
        """Add the records of another table behind those of this one."""
        self._encode_said()
        other._encode_said()
        self.said_before += other.said_before
        records, images, numbers = len(self.task), bytes(other.images), array("I")
        start = 0
        for key, end in zip(other.groups, other.images_end, strict=True):
            own_key = key + records if isinstance(key, int) else key
            numbers.append(self.groups.setdefault(own_key, len(self.groups)))
            if numbers[-1] == len(self.images_end):
                self.images += images[start:end]
                self.images_end.append(len(self.images))
            start = end
        self.group_of.extend(array("I", [numbers[number] for number in other.group_of]))
        self.text_end.extend(array("Q", [end + len(self.texts) for end in other.text_end]))
        self.task += _renumbered(other.task, other.tasks, self.tasks)
        self.split += _renumbered(other.split, other.splits, self.splits)
        self.regions += other.regions
        self.texts += other.texts
        self.system_turns += other.system_turns

    def _encode_said(self) -> None:
        self.said_before += "".join(self.said).encode()
        self.said.clear()

    def table(self) -> Table:
        """What was added."""
        self._encode_said()
        group_of = np.frombuffer(self.group_of, np.uint32) if self.group_of else np.zeros(0, np.uint32)
        columns: dict[str, Any] = {
            "task": self.task,
            "split": self.split,
            "regions": self.regions,
            "text_end": self.text_end,
            "order": np.argsort(group_of, kind="stable").astype(np.uint32),
            "group_end": np.cumsum(np.bincount(group_of, minlength=len(self.groups))).astype(np.uint32),
            "images_end": self.images_end,
        }
        return Table(
            {name: np.frombuffer(memoryview(columns[name]), of) for name, of in COLUMNS.items()},
            self.texts,
            self.images,
            list(self.tasks),
            list(self.splits),
            self.system_turns,
            hashlib.sha256(self.said_before).hexdigest()[:16],
        )


def _renumbered(numbers: bytearray, names: dict[str, int], known: dict[str, int]) -> bytearray:
    """Numbers of names as they are in ``known``, to which new names are added."""
    of = [known.setdefault(name, len(known)) for name in names]
    return numbers.translate(bytes(of).ljust(256, b"\0"))


def _references(references: dict[str, Any]) -> str:
    if len(references) == 1 and isinstance(answer := references.get("answer"), str):  # of nine in ten records
        return f'{{"answer":{_quoted(answer)}}}'
    return _encode(references) if references else "{}"


def _piece(texts: bytearray | memoryview, ends: np.ndarray, number: int) -> bytes:
    return bytes(texts[int(ends[number - 1]) if number else 0 : int(ends[number])])


def _parsed(text: bytes) -> list[Any]:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged() from error


def damaged() -> SkyEyeError:
    """What is told of a table that does not hold what was written."""
    return SkyEyeError(
        "an index of records is damaged", remedy="start again with --no-cache, or run.source_index=false"
    )


def _record(value: list[Any], images: tuple[str, ...]) -> Record:
    id, source, task, split, where, turns, regions, references = value
    return Record(
        id, source, task, split, images,
        tuple(Turn(*turn) if isinstance(turn, list) else turn_of(turn) for turn in turns),
        references, tuple(map(region_of, regions)), where,
    )  # fmt: skip
