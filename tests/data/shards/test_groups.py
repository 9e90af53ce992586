"""Groups from shards are those of the original files, in the same order; a mixture reads only what it draws."""

import time
from dataclasses import replace

import numpy as np
import pytest

from skyeye.config.schema import MixtureEntry, SourceConfig
from skyeye.data.formats import read_source, read_with_problems
from skyeye.data.groups import GroupList
from skyeye.data.images.load import load_image
from skyeye.data.mixture import Mixture
from skyeye.data.record import group_by_image
from skyeye.data.shards.groups import ShardGroups
from skyeye.data.shards.index import ShardSet
from skyeye.data.shards.pack import pack
from skyeye.errors import SkyEyeError


@pytest.fixture(scope="module")
def packed_world(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "out"
    sources = {split: SourceConfig("synthetic", str(world), split=split) for split in ("train", "test")}
    pack(sources, out, shard_bytes=30_000)
    return sources, ShardSet(out)


def texts(group):
    return [replace(record, images=(), where="") for record in group.records]


def test_groups_are_those_of_the_original_files(packed_world):
    sources, shards = packed_world
    for name, source in sources.items():
        packed, unpacked = ShardGroups(shards, name), group_by_image(read_source(source, name))
        assert len(packed) == len(unpacked) > 3
        for one, other in zip(packed, unpacked, strict=True):
            assert texts(one) == texts(other)
            assert [load_image(i).tobytes() for i in one.images] == [load_image(i).tobytes() for i in other.images]
        assert packed.samples == sum(len(group.records) for group in unpacked)


@pytest.mark.parametrize("tasks", [None, {"refer": 3.0, "vqa": 1.0}, {"video_caption": 1.0}])
def test_a_mixture_draws_the_same_from_shards(packed_world, tasks):
    sources, shards = packed_world
    entries = [MixtureEntry("train", tasks=tasks), MixtureEntry("test", 0.5, end=0.7)]
    packed = {name: ShardGroups(shards, name) for name in sources}
    unpacked = {name: GroupList(read_source(source, name)) for name, source in sources.items()}
    one, other = (Mixture(groups, entries, 5, "s", 80, 3) for groups in (packed, unpacked))
    for n in range(80):
        assert texts(one.draw(n)) == texts(other.draw(n))
        assert [load_image(i).tobytes() for i in one.draw(n).images] == [
            load_image(i).tobytes() for i in other.draw(n).images
        ]


def test_a_mixture_reads_what_it_draws_and_nothing_else(packed_world, monkeypatch):
    _sources, shards = packed_world
    read = []
    monkeypatch.setattr(
        ShardSet, "content", lambda self, entry, real=ShardSet.content: read.append(entry) or real(self, entry)
    )
    mixture = Mixture(
        {"train": ShardGroups(shards, "train")}, [MixtureEntry("train", tasks={"refer": 1})], 5, "s", 90, 3
    )
    assert read == []
    mixture.draw(77)
    assert len(read) == 1


def test_samples_of_several_splits_and_sources_of_one_picture(write_set, asks, tmp_path):
    train = write_set("x_train", {"a.png": 1, "b.png": 2}, [asks("b.png", "one?"), asks("a.png", "two?")])
    test = write_set("x_test", {"c.png": 2, "d.png": 3}, [asks("d.png", "three?"), asks("c.png", "four?")])
    path = tmp_path / "x_test/all.json"
    path.write_text(path.read_text().replace("[vqa] ", "[caption] "))
    (tmp_path / "x_test/all.json").rename(tmp_path / "x_test/all_test.json")
    both = replace(test, path=str(tmp_path / "x_test/all_test.json"))
    pack({"one": train, "two": both}, tmp_path / "out")
    shards = ShardSet(tmp_path / "out")

    def asked(**wanted):
        return [[r.turns[0].question.split()[-1] for r in group.records] for group in ShardGroups(shards, **wanted)]

    assert asked() == [["one?", "four?"], ["two?"], ["three?"]]
    assert ShardGroups(shards).with_tasks({"caption"}).tolist() == [0, 2]
    assert ShardGroups(shards).with_tasks({"vqa"}).tolist() == [0, 1]
    assert asked(split="test") == [["three?"], ["four?"]]
    assert asked(source="two") == [["three?"], ["four?"]]
    assert asked(source="one", split="train") == [["one?"], ["two?"]]
    with pytest.raises(SkyEyeError, match="source one: has no sample of split 'test' .it has: train"):
        asked(source="one", split="test")
    with pytest.raises(SkyEyeError, match="has no split 'tran' .did you mean 'train'"):
        asked(split="tran")
    with pytest.raises(SkyEyeError, match="has no source 'twoo' .did you mean 'two'"):
        asked(source="twoo")


def test_tasks_are_known_from_the_index(packed_world):
    _, shards = packed_world
    groups = ShardGroups(shards, "train")
    assert set(groups.tasks()) == {record.task for record in groups.records()}
    for task in groups.tasks():
        has = [any(record.task == task for record in group.records) for group in groups]
        assert groups.with_tasks({task}).tolist() == np.flatnonzero(has).tolist()
    assert len(groups.with_tasks({"detail"})) == 0 and len(groups.with_tasks(None)) == len(groups)


def test_the_token_estimate_is_near_the_length_of_the_texts(packed_world):
    _, shards = packed_world
    groups = ShardGroups(shards, "train")
    characters = sum(len(t.question) + len(t.answer) for r in groups.records() for t in r.turns)
    turns = sum(len(r.turns) for r in groups.records())
    assert abs(groups.tokens - (characters / 4 + 8 * turns)) <= turns


def test_an_index_counts_from_both_ends(packed_world):
    groups = ShardGroups(packed_world[1], "train")
    assert groups[-1].images == groups[len(groups) - 1].images
    with pytest.raises(IndexError):
        groups[len(groups)]


def test_fingerprints_tell_sources_apart(packed_world):
    _, shards = packed_world
    prints = {ShardGroups(shards, source, split).fingerprint for source, split in
              ((None, None), ("train", None), ("train", "train"), ("test", None))}  # fmt: skip
    assert len(prints) == 4 and all(len(p) == 16 for p in prints)


def test_shards_are_read_as_any_other_source(packed_world):
    sources, shards = packed_world
    source = SourceConfig("shards", shards.path, options={"source": "train"})
    records, problems = read_with_problems(source, "x")
    assert problems == [] and len(records) == len(read_source(sources["train"], "x"))
    assert group_by_image(records) == list(ShardGroups(shards, "train"))
    with pytest.raises(SkyEyeError, match="unknown option 'sourc' .did you mean 'source'"):
        read_source(replace(source, options={"sourc": "train"}), "x")
    with pytest.raises(SkyEyeError, match="shards hold their images"):
        read_source(replace(source, images="elsewhere"), "x")


def test_the_middle_of_a_large_epoch_starts_at_once_from_an_index(packed_world):
    _, shards = packed_world
    groups = ShardGroups(shards, "train")
    large = ShardGroups(shards, "train")
    large._entries, large._masks = np.tile(groups._entries, 7000), np.tile(groups._masks, 7000)
    assert len(large) > 80_000
    began = time.process_time()
    Mixture({"a": large}, [MixtureEntry("a", tasks={"refer": 1.0})], 1, "s", 968_000, 4).draw(500_000)
    assert time.process_time() - began < 2
