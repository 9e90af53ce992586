from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_source
from skyeye.data.formats.base.problems import Problem
from skyeye.data.formats.generic.synthetic import read
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.synth import write_scenes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "world"
    write_scenes(out, 24, 2, held_out=20, size=56, processes=1)
    return out


@pytest.fixture(scope="module")
def train(world: Path) -> list[Record]:
    return list(read(world))


@pytest.fixture(scope="module")
def test(world: Path) -> list[Record]:
    return list(read(world, split="test"))


def test_every_record_of_both_splits_is_read(train: list[Record], test: list[Record]) -> None:
    assert all(isinstance(record, Record) for record in train + test)
    scored = {"caption", "video_caption", "vqa", "classification", "refer", "identify", "detection"}
    assert {r.task for r in test} == scored
    assert {r.task for r in train} == scored | {"grounding", "conversation"}
    assert {r.split for r in train} == {"train"} and {r.split for r in test} == {"test"}
    assert all(Path(image).is_file() for r in train[::50] + test[::50] for image in r.images)
    assert not {image for r in train for image in r.images} & {image for r in test for image in r.images}


def test_regions_are_the_ground_and_then_the_objects(train: list[Record]) -> None:
    for record in train:
        if record.task == "video_caption":
            assert len(record.images) == 4 and record.regions == ()
            continue
        ground, *objects = record.regions
        assert ground.box == (0.0, 0.0, 1.0, 1.0)
        assert 1 <= len(objects) <= 4
        if record.task == "classification":
            assert record.turns[0].answer == ground.phrase
        if record.task == "identify":
            assert record.turns[0].answer in {f"a {region.phrase}" for region in objects}


def test_held_out_references_by_task(test: list[Record]) -> None:
    wanted = {
        "caption": {"captions"},
        "video_caption": {"captions", "type"},
        "vqa": {"answer", "type"},
        "classification": {"answer", "classes", "type"},
        "refer": {"boxes", "phrase", "object", "type"},
        "identify": {"boxes", "phrase", "captions", "object"},
        "detection": {"boxes", "phrase"},
    }
    for record in test:
        assert set(record.references) == wanted[record.task], record
    refer = next(r for r in test if r.task == "refer")
    assert refer.references["boxes"][0] == list(refer.regions[1 + refer.references["object"]].box)


def test_options_keep_what_they_say(world: Path, train: list[Record]) -> None:
    few = list(read(world, max_objects=2))
    assert {len(r.regions) - 1 for r in few if r.regions} == {1, 2}
    assert len(few) == sum(len(r.regions) <= 3 for r in train)
    only = list(read(world, tasks=["refer", "grounding"]))
    assert Counter(r.task for r in only) == Counter(r.task for r in train if r.task in ("refer", "grounding"))
    with pytest.raises(SkyEyeError, match="unknown task 'reffer'.*'refer'"):
        list(read(world, tasks=["reffer"]))


def test_as_a_source_of_a_recipe(world: Path) -> None:
    config = SourceConfig("synthetic", str(world), split="test", options={"max_objects": 1})
    assert {r.references["type"] for r in read_source(config, "world") if r.task == "refer"} == {"only"}


def test_the_tree_is_readable_as_published_annotations(world: Path, train: list[Record], test: list[Record]) -> None:
    records = read_source(SourceConfig("skyeye968k", str(world), images=str(world / "images")), "world")
    assert len(records) == len(train) + len(test)
    assert Counter(r.split for r in records) == {"train": len(train), "test": len(test)}


def test_what_is_wrong_is_told(world: Path, tmp_path: Path) -> None:
    with pytest.raises(SkyEyeError, match="holds no train files"):
        list(read(tmp_path))
    broken = tmp_path / "broken"
    write_scenes(broken, 2, 2, held_out=1, size=56, processes=1)
    (broken / "images" / "scene_000000.jpg").unlink()
    (broken / "vqa" / "scenes_train.json").write_text('[{"id": "x"}]')
    problems = [p for p in read(broken) if isinstance(p, Problem)]
    assert {p.kind for p in problems} == {"missing image", "not a record"}
    (broken / "regions.jsonl").write_text('{"image": "a.jpg"}\n')
    with pytest.raises(SkyEyeError, match="regions.jsonl, line 1.*draw the scenes again"):
        list(read(broken))
