"""What training draws from: the groups of one source, whether they lie in memory or in shards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Protocol

import numpy as np

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import READERS, check_source, iter_source
from skyeye.data.formats.base.image_folder import SUFFIXES, ImageLookup
from skyeye.data.formats.base.noted import note, noting
from skyeye.data.formats.base.problems import Problem
from skyeye.data.locks import one_at_a_time
from skyeye.data.parts import read_in_parts
from skyeye.data.record import Group, Record
from skyeye.data.source_index import index_path, is_large, read_index, write_index
from skyeye.data.table import Table, build_table


class GroupSource(Protocol):
    """The groups of a source in a fixed order.

    Attributes:
        samples: records of all groups together.
        system_turns: records that open with words of the system.
        splits: records of each split there is.
        fingerprint: a short hash: two runs with the same one saw the same data.
    """

    samples: int
    system_turns: int
    splits: dict[str, int]

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Group: ...

    def __iter__(self) -> Iterator[Group]: ...

    def with_tasks(self, tasks: Iterable[str] | None) -> np.ndarray:
        """Numbers of the groups that have a sample of one of the tasks (None: all), in order."""

    def tasks(self) -> list[str]:
        """Tasks that occur."""


class GroupList:
    """Records as a :class:`GroupSource`: the groups of :func:`~skyeye.data.record.group_by_image`.

    Args:
        records: they are taken over into a table (:mod:`skyeye.data.table`), one after the other; or that table.
    """

    def __init__(self, records: Iterable[Record] | Table):
        self.table = table = records if isinstance(records, Table) else build_table(records)
        self.samples, self.system_turns = table.records, table.system_turns
        counts = np.bincount(table.columns["split"], minlength=len(table.splits)).tolist()
        self.splits = dict(zip(table.splits, counts, strict=True))

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Group:
        return self.table.group(range(len(self))[index])

    def __iter__(self) -> Iterator[Group]:
        return map(self.table.group, range(len(self)))

    @property
    def fingerprint(self) -> str:
        """Of the questions and answers, in the order in which they were read."""
        return self.table.fingerprint

    def with_tasks(self, tasks: Iterable[str] | None) -> np.ndarray:
        """Numbers of the groups that have a sample of one of the tasks (None: all that have any), in order."""
        if tasks is None:
            return np.arange(len(self))
        wanted = set(tasks)
        chosen = np.array([task in wanted for task in self.table.tasks], bool)
        columns = self.table.columns
        asked = chosen[columns["task"][columns["order"]]] if self.samples else np.zeros(0, bool)
        return np.unique(np.searchsorted(columns["group_end"], np.flatnonzero(asked), side="right"))

    def tasks(self) -> list[str]:
        """Tasks that occur, by the alphabet."""
        return sorted(self.table.tasks)


def open_source(source: SourceConfig, name: str, *, index: bool = True) -> tuple[GroupSource, list[Problem]]:
    """The groups of a source of a recipe, and what was skipped when it was read.

    A format that holds groups itself (a module with ``open_groups``: shards) reads its index alone; what was skipped
    then is listed beside it, since it was packed.

    Args:
        index: keep an index of a large source and start from it the next time (:mod:`skyeye.data.source_index`).

    Raises:
        SkyEyeError: as :func:`~skyeye.data.formats.read_source`.
    """
    check_source(source, name)
    open_groups = getattr(import_module(READERS[source.format]), "open_groups", None)
    if open_groups is not None:
        return open_groups(source.path, ImageLookup(source.images), source.split, **source.options), []
    if not (index and is_large(source.path)):
        return _read(source, name)
    path = index_path(source, name)
    with one_at_a_time(path.with_suffix(".lock")):
        known = read_index(path)
        if known is not None:
            return GroupList(known[0]), known[1]
        with noting() as notes:
            if os.path.isdir(source.path):
                note("others", source.path, *SUFFIXES)
            groups, problems = _read(source, name)
        if write_index(path, groups.table, problems, notes):
            known = read_index(path)
    return (groups, problems) if known is None else (GroupList(known[0]), problems)


def _read(source: SourceConfig, name: str) -> tuple[GroupList, list[Problem]]:
    if getattr(import_module(READERS[source.format]), "IN_PARTS", False):
        found = read_in_parts(source, name)
        if found is not None:
            return GroupList(found[0]), found[1]
    problems: list[Problem] = []
    return GroupList(sound_records(iter_source(source, name), problems)), problems


def sound_records(items: Iterable[Record | Problem], problems: list[Problem]) -> Iterator[Record]:
    """The records among what a reader yields; the rest is added to ``problems``."""
    for item in items:
        if isinstance(item, Problem):
            problems.append(item)
        else:
            yield item
