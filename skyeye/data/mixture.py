"""Which group of questions comes next: a pure function of (seed, stage, n), whatever was drawn before and by whom.

Every random number comes from a Philox counter keyed by what it decides, so the n-th group of a stage is the same on
one process and on sixty-four, after a restart and in the middle of an epoch. Raw Philox words are turned into choices
here, because numpy promises the words for ever but not what its own ``choice`` and ``permutation`` make of them.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from skyeye.config.schema import MixtureEntry, Sampling
from skyeye.data.formats.base.problems import suggest
from skyeye.data.groups import GroupSource
from skyeye.data.record import Group, Record, Turn
from skyeye.data.tasks import check_task
from skyeye.errors import SkyEyeError


class Pool(NamedTuple):
    """The groups of a source that have something to ask under an entry: their numbers, in order."""

    groups: GroupSource
    members: np.ndarray


class Mixture:
    """The order of a stage's training data.

    Group n comes from an entry chosen by its weight (see :func:`weights`) among those whose ``start``..``end`` covers
    n / total_groups. The k-th visit to a source walks a seeded permutation per epoch: every image is seen once before
    any is seen twice. Entries that name the same source and the same tasks share their epochs. Of an image, at most
    ``questions_per_image`` records are drawn without replacement: first a task by weight, then one of its records;
    identical questions with identical answers count once.

    Args:
        groups: source name -> its groups.
        entries: the stage's mixture.
        seed: the recipe's seed.
        stage: name of the stage; two stages with the same mixture see different orders.
        total_groups: groups the stage draws, steps x groups per step.
        questions_per_image: records drawn of a group, at most.
        sampling, temperature: what a weight of 1 means; see :func:`weights`.

    Raises:
        SkyEyeError: unknown or empty source, weights that are negative or all zero, an unknown task, no record of the
            wanted tasks, or a part of the stage in which no entry is drawn from.
    """

    def __init__(
        self,
        groups: Mapping[str, GroupSource],
        entries: Sequence[MixtureEntry],
        seed: int,
        stage: str,
        total_groups: int,
        questions_per_image: int,
        sampling: Sampling = "ratio",
        temperature: float = 1.0,
    ):
        if questions_per_image < 1:
            raise SkyEyeError(
                f"questions_per_image {questions_per_image} is below 1", where=f"stage {stage}", remedy="use 1 or more"
            )
        self.seed, self.stage, self.total_groups, self.questions_per_image = (
            seed,
            stage,
            total_groups,
            questions_per_image,
        )
        self.entries = list(entries)
        pools, pool_of_entry = _pools(groups, self.entries, stage)
        self._pools = list(pools.values())
        self._pool_names = [f"{source}/{','.join(sorted(tasks or ()))}" for source, tasks in pools]
        sizes = [len(self._pools[pool].members) for pool in pool_of_entry]
        self._weights = weights(self.entries, sizes, sampling, temperature)
        self._entry_of, self._visit_of = self._schedule(np.asarray(pool_of_entry, dtype=np.int64))
        self._pool_of_entry = pool_of_entry
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __len__(self) -> int:
        return self.total_groups

    def draw(self, n: int) -> Group:
        """The n-th group of the stage, 0 <= n < total_groups: its images and the records chosen, in their order.

        Raises:
            IndexError: n is outside the stage.
        """
        if not 0 <= n < self.total_groups:
            raise IndexError(f"group {n} of a stage of {self.total_groups}")
        entry = int(self._entry_of[n])
        pool = self._pool_of_entry[entry]
        groups, members = self._pools[pool]
        epoch, place = divmod(int(self._visit_of[n]), len(members))
        group = groups[int(members[self._order(pool, epoch)[place]])]
        return Group(images=group.images, records=self._choose(group, self.entries[entry].tasks, n))

    def drawn(self) -> Iterator[Group]:
        """Every group that the stage draws at least once, with all its records: what a feature cache has to hold."""
        pools = np.asarray(self._pool_of_entry)[self._entry_of]
        for pool, (groups, members) in enumerate(self._pools):
            visits = int(np.count_nonzero(pools == pool))
            chosen = members if visits >= len(members) else members[np.sort(self._order(pool, 0)[:visits])]
            for number in chosen:
                yield groups[int(number)]

    def _schedule(self, pool_of_entry: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For every n: the entry drawn from, and how often its pool was drawn from before."""
        total = self.total_groups
        uniform = _uniform(self._words(total, "source"))
        position = np.arange(total) / max(total, 1)
        starts, ends = (np.array([getattr(e, name) for e in self.entries]) for name in ("start", "end"))
        chosen = np.zeros(total, dtype=np.int32)
        # between two neighbouring edges the set of active entries does not change
        edges = np.unique(np.clip(np.concatenate([starts, ends, [0.0, 1.0]]), 0.0, 1.0))
        for low, high in itertools.pairwise(edges):
            active = self._weights * ((starts <= low) & (low < ends))
            inside = slice(*np.searchsorted(position, [low, high]))
            if not active.sum() > 0:
                raise SkyEyeError(
                    f"nothing is drawn between {low:.0%} and {high:.0%} of the stage",
                    where=f"stage {self.stage}, mixture",
                    remedy="give a source with a weight above 0 and start..end over this part",
                )
            bounds = np.cumsum(active) / active.sum()
            bounds[np.flatnonzero(active)[-1] :] = 1.0  # rounding must not hand the last sliver to an inactive entry
            chosen[inside] = np.searchsorted(bounds, uniform[inside], side="right")
        pools = pool_of_entry[chosen]
        visits = np.zeros(total, dtype=np.int64)
        for pool in range(len(self._pools)):
            mine = pools == pool
            visits[mine] = np.arange(np.count_nonzero(mine))
        return chosen, visits

    def _order(self, pool: int, epoch: int) -> np.ndarray:
        """The permutation of one epoch. A training loop walks on, so only the latest of each pool is kept."""
        if self._orders.get(pool, (None,))[0] != epoch:
            words = self._words(len(self._pools[pool].members), "epoch", self._pool_names[pool], epoch)
            self._orders[pool] = (epoch, np.argsort(words, kind="stable").astype(np.int32))
        return self._orders[pool][1]

    def _choose(self, group: Group, tasks: Mapping[str, float] | None, n: int) -> tuple[Record, ...]:
        """At most ``questions_per_image`` of the group's distinct records."""
        by_text: dict[tuple[Turn, ...], Record] = {}
        for record in group.records:
            by_text.setdefault(record.turns, record)
        distinct = list(by_text.values())
        left: dict[str | None, list[Record]] = {None: list(distinct)}
        weights: dict[str | None, float] = {None: 1.0}
        if tasks is not None:
            left = {task: [r for r in distinct if r.task == task] for task, weight in tasks.items() if weight > 0}
            weights = {task: weight for task, weight in tasks.items()}
        wanted = min(self.questions_per_image, sum(map(len, left.values())))
        uniform = iter(_uniform(self._words(2 * wanted, "records", n)))
        taken: set[int] = set()
        for _ in range(wanted):
            open_tasks = [task for task, records in left.items() if records]
            bounds = np.cumsum([weights[task] for task in open_tasks])
            task = open_tasks[np.searchsorted(bounds[:-1] / bounds[-1], next(uniform), side="right")]
            taken.add(id(left[task].pop(int(next(uniform) * len(left[task])))))
        return tuple(record for record in distinct if id(record) in taken)

    def _words(self, count: int, *purpose: object) -> np.ndarray:
        """``count`` random 64-bit words that belong to this seed, stage and purpose alone."""
        name = "\x1f".join(map(str, (self.seed, self.stage, *purpose)))
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "little")
        return np.random.Philox(key=key).random_raw(count)


def weights(
    entries: Sequence[MixtureEntry], sizes: Sequence[int], sampling: Sampling = "ratio", temperature: float = 1.0
) -> np.ndarray:
    """How often each entry is drawn from, up to a common factor.

    ``ratio`` (the reference): as often as its weight says. ``proportional``: weight x number of its images, so that
    with equal weights every image is seen equally often. ``temperature``: weight x images ** (1 / temperature), which
    lies between the two: 1 is proportional, a high one draws every source equally often.

    Args:
        sizes: for each entry, the images that have something to ask under it.
    """
    exponent = {"ratio": 0.0, "proportional": 1.0, "temperature": 1.0 / temperature}[sampling]
    return np.array([entry.weight for entry in entries], dtype=np.float64) * np.array(sizes, np.float64) ** exponent


def epoch_size(groups: Mapping[str, GroupSource], entries: Sequence[MixtureEntry], stage: str) -> int:
    """Groups of one epoch of a mixture: all images of its entries, each source (with the same tasks) counted once.

    Entries with weight 0 do not count. With ``sampling: proportional`` and equal weights an epoch shows every image
    about once; with ``ratio`` some more often and others not at all.
    """
    pools, _ = _pools(groups, [entry for entry in entries if entry.weight > 0], stage)
    return sum(len(pool.members) for pool in pools.values())


def reference_sampling(ratios: Sequence[float], seed: int) -> Iterator[int]:
    """Indices of data sets as the reference draws them, one per step for ever.

    The reference draws with Python's own generator in proportion to the ratios, and so depends on everything drawn
    before; :class:`Mixture` keeps the proportions without that. Kept to compare with runs of the reference.
    """
    generator = random.Random(seed)
    shares = [ratio / sum(ratios) for ratio in ratios]
    while True:
        yield generator.choices(range(len(shares)), shares)[0]


def _uniform(words: np.ndarray) -> np.ndarray:
    """64-bit words -> numbers in [0, 1) with 53 random bits."""
    return (words >> np.uint64(11)) * 2.0**-53


def _pools(
    groups: Mapping[str, GroupSource], entries: Sequence[MixtureEntry], stage: str
) -> tuple[dict[tuple[str, frozenset[str] | None], Pool], list[int]]:
    """The pools of a mixture by source and tasks, and for each entry the number of its pool."""
    pools: dict[tuple[str, frozenset[str] | None], Pool] = {}
    pool_of_entry = []
    for number, entry in enumerate(entries):
        where = f"stage {stage}, mixture[{number}] ({entry.source})"
        key = entry.source, _wanted_tasks(entry, where)
        if key not in pools:
            pools[key] = _eligible(groups, entry, key[1], where)
        pool_of_entry.append(list(pools).index(key))
    return pools, pool_of_entry


def _wanted_tasks(entry: MixtureEntry, where: str) -> frozenset[str] | None:
    if entry.weight < 0 or not np.isfinite(entry.weight):
        raise SkyEyeError(f"weight {entry.weight} is not a number of 0 or more", where=where)
    if not 0 <= entry.start < entry.end <= 1:
        raise SkyEyeError(
            f"start {entry.start} and end {entry.end} enclose nothing", where=where, remedy="0 <= start < end <= 1"
        )
    if entry.tasks is None:
        return None
    for task, weight in entry.tasks.items():
        check_task(task, f"{where}.tasks")
        if weight < 0 or not np.isfinite(weight):
            raise SkyEyeError(f"weight {weight} of {task} is not a number of 0 or more", where=f"{where}.tasks")
    return frozenset(task for task, weight in entry.tasks.items() if weight > 0)


def _eligible(groups: Mapping[str, GroupSource], entry: MixtureEntry, tasks: frozenset[str] | None, where: str) -> Pool:
    """The source's groups that have something to ask under this entry."""
    if entry.source not in groups:
        raise SkyEyeError(f"unknown source {entry.source!r}", where=where, remedy=suggest(entry.source, list(groups)))
    source = groups[entry.source]
    members = source.with_tasks(tasks)
    if not len(members):
        what = f"has no record of {', '.join(sorted(tasks)) or 'any wanted task'}" if tasks is not None else "is empty"
        remedy = f"it has: {', '.join(source.tasks()) or 'nothing'}"
        raise SkyEyeError(f"source {entry.source!r} {what}", where=where, remedy=remedy)
    return Pool(source, members)
