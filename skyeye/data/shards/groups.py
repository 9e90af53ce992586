"""The groups of a shard set, read one by one when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from skyeye.data.formats.base.problems import suggest
from skyeye.data.record import Group, Record
from skyeye.data.shards.index import ShardSet
from skyeye.data.shards.layout import record_of
from skyeye.errors import SkyEyeError


class ShardGroups:
    """What one source (or all) asks of each image, in the order in which the images first appeared in the source.

    Which groups there are, and what tasks they hold, is known from the index alone; ``groups[i]`` reads one entry. The
    order and the records of a group are those of :func:`~skyeye.data.record.group_by_image` over the original files,
    but that pictures with the same bytes are one.

    Args:
        shards: the set.
        source: name of a source in the set; None: all of them.
        split: keep this split only.

    Raises:
        SkyEyeError: no such source, or it has no sample of the split.
    """

    def __init__(self, shards: ShardSet, source: str | None = None, split: str | None = None):
        self.shards, self.source, self.split = shards, source, split
        part, where = shards.part, f"{shards.path}" + (f", source {source}" if source else "")
        if source is not None and source not in shards.sources:
            raise SkyEyeError(f"has no source {source!r}", where=shards.path, remedy=suggest(source, shards.sources))
        rows = slice(0, len(part["source"]))
        if source is not None:  # parts are ordered by source
            number = shards.sources.index(source)
            rows = slice(*(int(np.searchsorted(part["source"], number, side)) for side in ("left", "right")))
        kept = np.arange(rows.start, rows.stop)
        if split is not None:
            if split not in shards.splits:
                raise SkyEyeError(f"has no split {split!r}", where=where, remedy=suggest(split, shards.splits))
            kept = kept[part["split"][rows] == shards.splits.index(split)]
        if not len(kept):
            present = [shards.splits[n] for n in np.unique(part["split"][rows])]
            remedy = f"it has: {', '.join(present) or 'nothing'}"
            raise SkyEyeError("has no sample" + (f" of split {split!r}" if split else ""), where=where, remedy=remedy)
        # a picture with samples of several splits or sources is one group, where it first appears
        entries, first, group = np.unique(part["entry"][kept], return_index=True, return_inverse=True)
        masks = np.zeros(len(entries), np.uint32)
        np.bitwise_or.at(masks, group, part["tasks"][kept])
        order = np.argsort(first, kind="stable")
        self._entries, self._masks = entries[order], masks[order]
        self.samples = int(part["records"][kept].sum())
        self.tokens = int(part["tokens"][kept].sum(dtype=np.int64))
        records = np.bincount(part["split"][kept], weights=part["records"][kept], minlength=len(shards.splits))
        self.splits = {name: int(count) for name, count in zip(shards.splits, records, strict=True) if count}
        self.system_turns = sum(
            header.get("system_turns", 0) for header in shards.header["sources"] if source in (None, header["name"])
        )

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Group]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, index: int) -> Group:
        entry = int(self._entries[range(len(self))[index]])
        content = self.shards.content(entry)
        own = self.shards.key(entry)
        try:
            images = tuple(
                self.shards.image(entry if key == own else self.shards.find(key)) for key in content["images"]
            )
            chosen = [sample for sample in content["samples"] if self._wanted(sample)]
            return Group(images, tuple(record_of(sample, images) for sample in chosen))
        except (KeyError, TypeError, AttributeError) as error:
            raise SkyEyeError(
                f"a sample is not what skyeye writes ({type(error).__name__}: {error})",
                where=f"{self.shards.path}, entry {own}",
                remedy="pack it again",
            ) from error

    @property
    def fingerprint(self) -> str:
        """A short hash: two runs with the same one saw the same data."""
        return hashlib.sha256(f"{self.shards.fingerprint} {self.source} {self.split}".encode()).hexdigest()[:16]

    def with_tasks(self, tasks: Iterable[str] | None) -> np.ndarray:
        """Numbers of the groups that have a sample of one of the tasks (None: all), without reading them."""
        if tasks is None:
            return np.arange(len(self))
        wanted = sum(1 << n for n, task in enumerate(self.shards.tasks) if task in set(tasks))
        return np.flatnonzero(self._masks & np.uint32(wanted))

    def tasks(self) -> list[str]:
        """Tasks that occur."""
        present = int(np.bitwise_or.reduce(self._masks))
        return [task for n, task in enumerate(self.shards.tasks) if present >> n & 1]

    def records(self) -> Iterable[Record]:
        """Every record, group after group."""
        for group in self:
            yield from group.records

    def _wanted(self, sample: dict[str, Any]) -> bool:
        return (self.source is None or sample["source"] == self.source) and (
            self.split is None or sample["split"] == self.split
        )
