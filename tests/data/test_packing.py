"""Packs: nothing lost, nothing doubled, about equal, within the budget."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.packing import divide, fill, merge_same_images, pack_step, single_rows, split_to
from skyeye.data.record import Group, Record, Turn
from skyeye.data.sequence import Branch, GroupSequence
from skyeye.errors import SkyEyeError


def sequence(name: str, prefix: int, branches: list[int]) -> GroupSequence:
    """A group whose branches are told apart by their records' ids."""

    def branch(number: int, length: int) -> Branch:
        record = Record(f"{name}.{number}", "s", "vqa", "train", (name,), (Turn("q", "a"),), where="made.json")
        return Branch([1] * length, [-100] * length, record)

    return GroupSequence((name,), [0] * prefix, [branch(n, length) for n, length in enumerate(branches)])


def samples(groups) -> Counter[str]:
    return Counter(branch.record.id for group in groups for branch in group.branches)


groups_of_a_step = st.lists(
    st.tuples(st.integers(0, 20), st.lists(st.integers(1, 30), min_size=1, max_size=6)), min_size=1, max_size=6
).map(lambda drawn: [sequence(f"i{n}", *group) for n, group in enumerate(drawn)])


@given(groups_of_a_step, st.integers(1, 3), st.integers(1, 2), st.one_of(st.none(), st.integers(50, 120)))
def test_packs_hold_every_sample_once(groups, processes, least, budget):
    whole = samples(groups)
    try:
        divided = pack_step(groups, processes, least, budget)
    except SkyEyeError as error:
        assert "do not fill" in str(error) and whole.total() < processes * least
        return
    packs = [pack for packs in divided for pack in packs]
    found = sum((samples(pack) for pack in packs), Counter())
    idle = found.pop("nothing", 0)  # packs that only keep the processes in step
    assert found == whole and idle < processes
    assert len(divided) == processes
    assert len({len(packs) for packs in divided}) == 1 and len(divided[0]) >= least
    assert all(pack and all(group.branches for group in pack) for pack in packs)
    if budget is not None:
        assert max(sum(map(len, pack)) for pack in packs) <= budget
    prefixes = {group.images: group.prefix_ids for group in groups}
    assert all(group.prefix_ids == prefixes[group.images] for pack in packs for group in pack if group.images)


@given(groups_of_a_step, st.integers(1, 3), st.integers(50, 120))
def test_rows_are_counted_as_they_are_computed(groups, processes, budget):
    divided = pack_step(single_rows(groups), processes, 1, budget, padded=True) if samples(groups).total() >= 3 else []
    packs = [pack for packs in divided for pack in packs]
    assert all(len(pack) * max(map(len, pack)) <= budget for pack in packs)
    assert all(len(group.branches) == 1 for pack in packs for group in pack)
    found = sum((samples(pack) for pack in packs), Counter())
    found.pop("nothing", 0)
    assert not divided or found == samples(groups)


def test_rows_of_unlike_length_take_the_room_of_the_longest():
    groups = single_rows([sequence("a", 10, [30, 2, 2])])  # 40, 12 and 12 tokens: 80 in two rows, never 52
    assert [len(pack) for pack in pack_step(groups, 1, 1, 64, padded=True)[0]] == [1, 2]
    assert [len(pack) for pack in pack_step(groups, 1, 1, 64)[0]] == [3]
    assert [len(row) for row in fill(groups, 100, padded=True)] == [40, 40]


def test_samples_that_do_not_divide_into_equal_numbers_of_packs_are_no_error():
    groups = [sequence("a", 0, [26, 26]), sequence("b", 20, [5, 26, 6])]  # five packs at least, of 50 tokens
    packs = [pack for packs in pack_step(groups, processes=2, budget=50) for pack in packs]
    assert len(packs) == 6 and sum((samples(pack) for pack in packs), Counter()) == samples(groups) + Counter(
        ["nothing"]
    )


def test_every_process_works_out_the_same_division():
    groups = [sequence(f"i{n}", 10, [5] * n) for n in range(1, 8)]
    assert pack_step(groups, 2, 2) == pack_step(list(groups), 2, 2)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.integers(1, 6))
def test_bins_are_about_equal(lengths, bins):
    chosen = divide(lengths, bins)
    assert sorted(index for indices in chosen for index in indices) == list(range(len(lengths)))
    sums = [sum(lengths[i] for i in indices) for indices in chosen]
    assert sums == sorted(sums, reverse=True)
    # Graham's bound, with a lower bound in the place of the unknown best division
    best = max(max(lengths), sum(lengths) / bins, sum(sorted(lengths, reverse=True)[bins - 1 : bins + 1]))
    assert sums[0] <= 4 / 3 * best + 1e-9


def test_the_longest_go_first():
    assert divide([2, 9, 3, 4], 2) == [[1], [0, 2, 3]]


def test_a_long_group_is_split_between_its_samples():
    pieces = split_to(sequence("a", 10, [5, 5, 5, 8]), 20)
    assert [[len(branch.input_ids) for branch in piece.branches] for piece in pieces] == [[5, 5], [5], [8]]
    assert [len(piece) for piece in pieces] == [20, 15, 18]


def test_a_sample_longer_than_a_pack_is_named():
    with pytest.raises(SkyEyeError, match="made.json, a.1: a sample of 40 tokens is longer than a pack of 30"):
        split_to(sequence("a", 10, [5, 30]), 30)


def test_too_few_samples_for_the_processes():
    with pytest.raises(SkyEyeError, match="3 samples do not fill 4 packs"):
        pack_step([sequence("a", 10, [5, 5, 5])], 4)


@given(groups_of_a_step, st.integers(60, 400))
def test_the_longest_pack_is_nearly_full(groups, budget):
    pack = fill(groups, budget)
    length = sum(map(len, pack))
    assert length <= budget
    assert budget - length < 20 + 30  # no place for one more prefix with one more branch
    wanted = {record for group in groups for record in samples([group])}
    assert set(samples(pack)) <= wanted


def test_records_that_begin_otherwise_are_a_group_of_their_own():
    turns = [Turn("q", "a"), Turn("r", "b", system="Be brief."), Turn("s", "c"), Turn("t", "d", system="Be brief.")]
    records = [Record(str(n), "s", "vqa", "train", ("a",), (turn,)) for n, turn in enumerate(turns)]
    merged = merge_same_images([Group(("a",), tuple(records[:3])), Group(("a",), tuple(records[3:]))])
    assert [[record.id for record in group.records] for group in merged] == [["0", "2"], ["1", "3"]]


def test_groups_of_one_image_become_one_and_texts_stay_apart():
    def record(id: str, *images: str) -> Record:
        return Record(id, "s", "vqa", "train", images, (Turn("q", "a"),))

    def group(*records: Record) -> Group:
        return Group(records[0].images, records)

    groups = [
        group(record("1", "a")),
        group(record("2")),
        group(record("3", "b")),
        group(record("4", "a"), record("1", "a")),
        group(record("5")),
    ]
    merged = merge_same_images(groups)
    assert [(g.images, [r.id for r in g.records]) for g in merged] == [
        (("a",), ["1", "4", "1"]),
        ((), ["2"]),
        (("b",), ["3"]),
        ((), ["5"]),
    ]
