"""The groups of a step become packs of like length, for any number of processes and any limit of memory."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import cycle

from skyeye.data.record import Group, Record
from skyeye.data.sequence import IGNORE_INDEX, Branch, GroupSequence, SequenceBuilder
from skyeye.errors import SkyEyeError


def merge_same_images(groups: Sequence[Group]) -> list[Group]:
    """Groups that show the same images become one, at the place of the first: their image is encoded once.

    Records that were drawn twice stay twice: they weigh double, as without merging. Records before which the system
    says something else begin otherwise: they are a group of their own.
    """
    merged: dict[object, Group] = {}
    for number, group in enumerate(groups):
        for part in _by_opening(group):
            # text-only samples have no prefix to share
            key = part.records[0].opening if part.images else (number, part.records[0].opening)
            known = merged.get(key)
            merged[key] = part if known is None else Group(part.images, known.records + part.records)
    return list(merged.values())


def _by_opening(group: Group) -> list[Group]:
    parts: dict[object, list[Record]] = {}
    for record in group.records:
        parts.setdefault(record.opening, []).append(record)
    return [Group(group.images, tuple(records)) for records in parts.values()]


def single_rows(groups: Sequence[GroupSequence]) -> list[GroupSequence]:
    """A group for every branch, with its own copy of the prefix: what is computed without shared prefixes."""
    return [GroupSequence(group.images, group.prefix_ids, [branch]) for group in groups for branch in group.branches]


def pack_step(
    sequences: Sequence[GroupSequence],
    processes: int,
    least: int = 1,
    budget: int | None = None,
    *,
    padded: bool = False,
) -> list[list[list[GroupSequence]]]:
    """Divide the groups of a global step among processes and packs of about equal length.

    The division is a function of the groups alone, so every process works it out for itself.

    Args:
        sequences: all groups of the step, over all processes.
        processes: their number; each gets the same number of packs and no pack is empty, as ZeRO-3 needs it.
        least: packs per process, at least (gradient accumulation).
        budget: longest pack in tokens. A longer group is split, its prefix repeated; the number of packs grows as
            needed. None: no limit.
        padded: the groups of a pack become rows, padded to the longest, and that is what counts against the budget.

    Returns:
        For each process its packs, each a list of groups.

    Raises:
        SkyEyeError: a single sample is longer than the budget, or there are fewer samples than ``processes * least``.
    """
    pieces = [piece for sequence in sequences for piece in split_to(sequence, budget)]
    pieces = _at_least(pieces, processes * least)
    lengths = [len(piece) for piece in pieces]
    number = least
    while True:
        packs = divide(lengths, processes * number)
        if budget is None or max(_computed([lengths[i] for i in pack], padded) for pack in packs) <= budget:
            break
        number += 1
        if processes * number > len(pieces):
            # A number of packs that all processes share may be above that of the samples: some packs are then idle.
            missing = processes * number - sum(len(piece.branches) for piece in pieces)
            idle = [nothing_to_learn(pieces[0].branches[0].input_ids[-1]) for _ in range(missing)]
            pieces = _at_least(pieces + idle, processes * number)
            lengths = [len(piece) for piece in pieces]
    return [
        [[pieces[i] for i in packs[step * processes + rank]] for step in range(number)] for rank in range(processes)
    ]


def divide(lengths: Sequence[int], bins: int) -> list[list[int]]:
    """Indices of the lengths in ``bins`` bins of about equal sum: the longest first, each into the emptiest bin.

    No bin is more than 4/3 as full as the fullest of the best division would be (Graham 1969). Bins come fullest first;
    indices within a bin keep their order.
    """
    heap = [(0, number) for number in range(bins)]
    chosen: list[list[int]] = [[] for _ in range(bins)]
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        filled, number = heapq.heappop(heap)
        chosen[number].append(index)
        heapq.heappush(heap, (filled + lengths[index], number))
    return sorted((sorted(indices) for indices in chosen), key=lambda indices: -sum(lengths[i] for i in indices))


def split_to(sequence: GroupSequence, budget: int | None) -> list[GroupSequence]:
    """A group as pieces of at most ``budget`` tokens: each has the prefix and some of the branches, in their order.

    Raises:
        SkyEyeError: prefix and a branch are longer than the budget; the record is named.
    """
    if budget is None or len(sequence) <= budget:
        return [sequence]
    pieces: list[GroupSequence] = []
    for branch in sequence.branches:
        if _needs(sequence, branch) > budget:
            raise _too_long(sequence, branch, budget)
        if pieces and len(pieces[-1]) + len(branch.input_ids) <= budget:
            pieces[-1].branches.append(branch)
        else:
            pieces.append(GroupSequence(sequence.images, sequence.prefix_ids, [branch]))
    return pieces


def usable(
    builder: SequenceBuilder, group: Group, budget: int | None = None
) -> tuple[GroupSequence | None, list[tuple[str, str]]]:
    """The rows of the records of a group that can be learnt from, and (id, reason) of the others.

    Skipped are records that give no row (:meth:`SequenceBuilder.group`) and those longer than ``budget`` tokens. Which
    these are depends on the records alone, so all processes leave out the same.
    """
    problems: list[tuple[str, str]] = []
    try:
        sequence = builder.group(group.records)
    except SkyEyeError:
        fine = []
        for record in group.records:
            try:
                builder.group([record])
                fine.append(record)
            except SkyEyeError as error:
                problems.append((record.id, str(error)))
        if not fine:
            return None, problems
        sequence = builder.group(fine)
    if budget is not None:
        long = [branch for branch in sequence.branches if _needs(sequence, branch) > budget]
        problems += [(branch.record.id, str(_too_long(sequence, branch, budget))) for branch in long]
        if long:
            kept = [branch for branch in sequence.branches if _needs(sequence, branch) <= budget]
            if not kept:
                return None, problems
            sequence = GroupSequence(sequence.images, sequence.prefix_ids, kept)
    return sequence, problems


def nothing_to_learn(token_id: int) -> GroupSequence:
    """A group of three tokens without image and targets, for a process that would have nothing to compute."""
    record = Record(id="nothing", source="", task="vqa", split="train", images=(), turns=())
    return GroupSequence((), [token_id], [Branch([token_id] * 2, [IGNORE_INDEX] * 2, record)])


def fill(sequences: Sequence[GroupSequence], budget: int, *, padded: bool = False) -> list[GroupSequence]:
    """Groups, repeated as needed, up to ``budget`` tokens: as long a pack as a stage can meet, to try the memory.

    Args:
        padded: see :func:`pack_step`; every group is a row then.
    """
    pack: list[GroupSequence] = []
    left = budget
    if padded:
        longest = max(sequences, key=len, default=None)
        return [longest] * (budget // len(longest)) if longest else []
    for sequence in cycle(sequences):
        chosen = GroupSequence(sequence.images, sequence.prefix_ids, [])
        for branch in sequence.branches:
            if len(chosen) + len(branch.input_ids) <= left:
                chosen.branches.append(branch)
        if not chosen.branches:
            return pack
        pack.append(chosen)
        left -= len(chosen)
    return pack


def _computed(lengths: Sequence[int], padded: bool) -> int:
    """Tokens that a pack of groups of these lengths computes."""
    return len(lengths) * max(lengths, default=0) if padded else sum(lengths)


def _at_least(pieces: list[GroupSequence], number: int) -> list[GroupSequence]:
    """The pieces, the longest of them halved until there are ``number``."""
    pieces = list(pieces)
    while len(pieces) < number:
        index = max(range(len(pieces)), key=lambda i: (len(pieces[i].branches) > 1, len(pieces[i])))
        whole = pieces[index]
        if len(whole.branches) < 2:
            raise SkyEyeError(
                f"{len(pieces)} samples do not fill {number} packs",
                where="images_per_step",
                remedy="raise images_per_step or questions_per_image, or use fewer processes or less accumulation",
            )
        half = len(whole.branches) // 2
        pieces[index : index + 1] = [
            GroupSequence(whole.images, whole.prefix_ids, whole.branches[:half]),
            GroupSequence(whole.images, whole.prefix_ids, whole.branches[half:]),
        ]
    return pieces


def _needs(sequence: GroupSequence, branch: Branch) -> int:
    return len(sequence.prefix_ids) + len(branch.input_ids)


def _too_long(sequence: GroupSequence, branch: Branch, budget: int) -> SkyEyeError:
    record = branch.record
    return SkyEyeError(
        f"a sample of {_needs(sequence, branch)} tokens is longer than a pack of {budget}",
        where=f"{record.where}, {record.id}" if record.where else record.id,
        remedy="raise run.tokens_per_pack, or lower model.prompt.max_txt_len",
    )
