"""What training draws from: the groups of one source, whether they lie in memory or in shards."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib import import_module
from typing import Protocol

import numpy as np

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import READERS, check_source, read_with_problems
from skyeye.data.formats.base.image_folder import ImageLookup
from skyeye.data.formats.base.problems import Problem
from skyeye.data.record import Group, Record, group_by_image


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
    """Records in memory as a :class:`GroupSource`: the groups of :func:`~skyeye.data.record.group_by_image`."""

    def __init__(self, records: Iterable[Record]):
        self._records = list(records)
        self._groups = group_by_image(self._records)
        self.samples = len(self._records)
        self.splits = dict(Counter(record.split for record in self._records))
        self.system_turns = sum(record.turns[0].system is not None for record in self._records if record.turns)

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> Group:
        return self._groups[index]

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    @cached_property
    def fingerprint(self) -> str:
        """Of the questions and answers, in the order in which they were read."""
        digest = hashlib.sha256()
        for record in self._records:
            digest.update(record.id.encode())
            for turn in record.turns:
                digest.update(f"\0{turn.task}\0{turn.question}\0{turn.answer}\0{turn.mentions}".encode())
                if turn.system is not None:
                    digest.update(f"\0{turn.system}".encode())
        return digest.hexdigest()[:16]

    def with_tasks(self, tasks: Iterable[str] | None) -> np.ndarray:
        """Numbers of the groups that have a sample of one of the tasks (None: all that have any), in order."""
        wanted = None if tasks is None else set(tasks)
        return np.flatnonzero(
            [any(wanted is None or record.task in wanted for record in group.records) for group in self._groups]
        )

    def tasks(self) -> list[str]:
        """Tasks that occur, by the alphabet."""
        return sorted({record.task for record in self._records})


def open_source(source: SourceConfig, name: str) -> tuple[GroupSource, list[Problem]]:
    """The groups of a source of a recipe, and what was skipped when it was read.

    A format that holds groups itself (a module with ``open_groups``: shards) reads its index alone; what was skipped
    then is listed beside it, since it was packed.

    Raises:
        SkyEyeError: as :func:`~skyeye.data.formats.read_source`.
    """
    check_source(source, name)
    open_groups = getattr(import_module(READERS[source.format]), "open_groups", None)
    if open_groups is not None:
        return open_groups(source.path, ImageLookup(source.images), source.split, **source.options), []
    records, problems = read_with_problems(source, name)
    return GroupList(records), problems
