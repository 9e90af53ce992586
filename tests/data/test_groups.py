"""What training draws from looks alike whether it lies in memory or in shards."""

from dataclasses import replace

import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_source
from skyeye.data.groups import GroupList, open_source
from skyeye.data.record import Record, Turn, group_by_image
from skyeye.data.shards.pack import pack
from skyeye.errors import SkyEyeError


@pytest.fixture(scope="module")
def sources(world, tmp_path_factory):
    """The training records of a small synthetic scenes, as files and as shards."""
    files = SourceConfig("synthetic", str(world), split="train")
    out = tmp_path_factory.mktemp("shards") / "out"
    pack({"world": files}, out)
    return files, SourceConfig("shards", str(out), options={"source": "world"})


def record(id, image, task):
    return Record(id, "s", task, "train", (image,), (Turn(f"{id}?", "yes", task),))


def test_files_and_shards_answer_alike(sources):
    (files, problems), (shards, skipped) = (open_source(source, "world") for source in sources)
    assert not problems and not skipped
    assert len(files) == len(shards) == len(list(files)) == len(list(shards)) > 3
    assert files.samples == shards.samples == sum(len(group.records) for group in files)
    assert sorted(files.tasks()) == sorted(shards.tasks())
    for tasks in (None, ["refer"], ["vqa", "caption"], ["video_caption"], []):
        assert files.with_tasks(tasks).tolist() == shards.with_tasks(tasks).tolist()
    assert [r.id for r in files[2].records] == [r.id for r in shards[2].records]
    assert len(files.fingerprint) == len(shards.fingerprint) == 16


def test_records_in_memory_are_grouped_by_image(sources):
    records = read_source(sources[0], "world")
    held = GroupList(iter(records))
    assert list(held) == group_by_image(records) and held[1] == group_by_image(records)[1]


def test_groups_are_found_by_what_they_ask():
    records = [record("1", "a", "vqa"), record("2", "b", "refer"), record("3", "a", "refer"), record("4", "c", "vqa")]
    held = GroupList(records)
    assert held.tasks() == ["refer", "vqa"] and held.samples == 4 and len(held) == 3
    assert held.with_tasks({"refer"}).tolist() == [0, 1] and held.with_tasks(["vqa"]).tolist() == [0, 2]
    assert held.with_tasks(None).tolist() == [0, 1, 2] and held.with_tasks([]).tolist() == []
    assert GroupList([]).with_tasks(None).tolist() == [] and GroupList([]).tasks() == []


def test_the_fingerprint_is_that_of_questions_and_answers():
    records = [record("1", "a", "vqa"), record("2", "b", "vqa")]
    same = [replace(r, images=("elsewhere/" + r.images[0],)) for r in records]
    other = [replace(records[0], turns=(Turn("1?", "no", "vqa"),)), records[1]]
    assert GroupList(records).fingerprint == GroupList(same).fingerprint
    assert len({GroupList(of).fingerprint for of in (records, other, records[::-1], records[:1])}) == 4


def test_what_does_not_fit_is_told(sources):
    files, shards = sources
    with pytest.raises(SkyEyeError, match="sources.x.options: unknown option 'sourc'"):
        open_source(replace(shards, options={"sourc": "world"}), "x")
    with pytest.raises(SkyEyeError, match="shards hold their images"):
        open_source(replace(shards, images="elsewhere"), "x")
    with pytest.raises(SkyEyeError, match="unknown format"):
        open_source(replace(files, format="shard"), "x")
