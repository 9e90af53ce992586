import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skyeye import cli
from skyeye.config.schema import SourceConfig
from skyeye.curate.split import _divide, _Units, split
from skyeye.curate.target import Target, open_target
from skyeye.data.formats import read_with_problems
from skyeye.data.images.hashing import perceptual_hash
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError


def scene(number: int, side: int = 32) -> Image.Image:
    coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def make(tmp_path):
    """Writes a LLaVA-style set over pictures: name -> number of its scene; three questions about each."""

    def write(pictures: dict[str, int], extra: list[dict] = (), folder: str = "set"):
        root = tmp_path / folder
        rows = []
        for name, number in pictures.items():
            (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            scene(number).save(root / "images" / name)
            for question in ("[vqa] how many?", "[vqa] what?", "[refer] where is it"):
                answer = "{<1><2><30><40>}" if "refer" in question else str(number)
                turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
                rows.append({"image": name, "conversations": turns})
        (root / "records.json").write_text(json.dumps([*rows, *extra]))
        return open_target(root / "records.json", format="llava", images=root / "images")

    return write


def read_back(out: Path, written: dict) -> dict[str, list[Record]]:
    sides = {}
    for file in sorted(out.glob("*.jsonl")):
        source = SourceConfig("jsonl", str(file), written["images_folder"])
        records, problems = read_with_problems(source, "mine")
        assert not problems and {record.split for record in records} == {file.stem}
        images = {Path(image).name for record in records for image in record.images}
        assert written["sides"][file.stem] == {"records": len(records), "images": len(images)}
        sides[file.stem] = records
    return sides


def names(records: list[Record]) -> set[str]:
    return {Path(image).name for record in records for image in record.images}


def test_every_record_is_on_one_side_and_no_image_on_two(make, tmp_path):
    target = make({f"p{n}.png": n for n in range(20)})
    sides = read_back(tmp_path / "out", split(target, tmp_path / "out"))
    assert {side: len(names(records)) for side, records in sides.items()} == {"train": 16, "val": 2, "test": 2}
    assert sum(map(len, sides.values())) == 60
    assert len(set.union(*map(names, sides.values()))) == 20
    original, _ = read_with_problems(SourceConfig("llava", str(target.path), target.sources["records"].images), "x")
    said = Counter((names([r]).pop(), r.task, r.turns) for r in original)
    assert said == Counter((names([r]).pop(), r.task, r.turns) for records in sides.values() for r in records)


def test_the_division_depends_on_seed_and_names_only(make, tmp_path):
    pictures = {f"p{n}.png": n for n in range(12)}

    def test_side(folder: str, of: dict, **options) -> set[str]:
        out = tmp_path / f"out-{folder}-{options}"
        return names(read_back(out, split(make(of, folder=folder), out, **options))["test"])

    first = test_side("a", pictures, workers=1)
    assert first == test_side("b", dict(reversed(pictures.items())), workers=4)
    assert len({frozenset(test_side("a", pictures, seed=seed)) for seed in range(4)}) > 1


def test_the_same_pixels_stay_together_and_on_request_look_alikes(make, tmp_path):
    pictures = {f"p{n}.png": n for n in range(8)} | {f"copy{n}.bmp": n for n in range(8)}
    sides = read_back(tmp_path / "out", split(make(pictures), tmp_path / "out", (0.5, 0.25, 0.25)))
    for records in sides.values():
        assert {n[1:2] for n in names(records) if n[0] == "p"} == {n[4:5] for n in names(records) if n[0] == "c"}
    pictures = {f"p{n}.png": n for n in range(8)} | {f"copy{n}.jpg": n for n in range(8)}
    target = make(pictures, folder="jpeg")
    sides = read_back(tmp_path / "near", split(target, tmp_path / "near", (0.5, 0.25, 0.25), near_duplicates=True))
    for records in sides.values():
        assert {n[1:2] for n in names(records) if n[0] == "p"} == {n[4:5] for n in names(records) if n[0] == "c"}
    sides = read_back(tmp_path / "far", split(target, tmp_path / "far", (0.5, 0.25, 0.25)))
    assert any(
        {n[1:2] for n in names(records) if n[0] == "p"} != {n[4:5] for n in names(records) if n[0] == "c"}
        for records in sides.values()
    )


def marked(number: int) -> Image.Image:
    """A scene with so large a white corner that some bits of its hash differ, but not more than six."""
    plain = perceptual_hash(scene(number))
    for side in range(1, 12):
        image = scene(number)
        image.paste((255, 255, 255), (0, 0, side, side))
        if (perceptual_hash(image) ^ plain).bit_count() > 0:
            assert (perceptual_hash(image) ^ plain).bit_count() <= 6
            return image
    raise AssertionError("no corner changes the hash")


def test_look_alikes_need_not_have_the_same_hash(make, tmp_path):
    target = make({f"p{n}.png": n for n in range(8)})
    for number in range(8):
        marked(number).save(tmp_path / f"set/images/m{number}.png")
    rows = json.loads(target.path.read_text())
    target.path.write_text(json.dumps(rows + [row | {"image": row["image"].replace("p", "m", 1)} for row in rows]))
    written = split(target, tmp_path / "out", (0.5, 0.25, 0.25), near_duplicates=True)
    for records in read_back(tmp_path / "out", written).values():
        assert {n[1] for n in names(records) if n[0] == "p"} == {n[1] for n in names(records) if n[0] == "m"}


def test_scenes_stay_together_by_the_prefix_of_their_names(make, tmp_path):
    pictures = {
        f"{clip}-{n:03}.png": 10 * k + n for k, clip in enumerate(("fly_1", "fly_2", "sea", "bay")) for n in range(4)
    }
    target = make(pictures | {"alone.png": 99})
    sides = read_back(tmp_path / "out", split(target, tmp_path / "out", (0.5, 0.25, 0.25), by="prefix"))
    clips = {side: {name.rpartition("-")[0] for name in names(records)} for side, records in sides.items()}
    assert sum(map(len, clips.values())) == 5 and len(set.union(*clips.values())) == 5
    written = split(target, tmp_path / "own", (0.5, 0.25, 0.25), by="prefix", prefix=r"([a-z]+).*")
    clips = [{name[:3] for name in names(records)} for records in read_back(tmp_path / "own", written).values()]
    assert sum(map(len, clips)) == len(set.union(*clips)) == 4


def test_shares_hold_within_every_class(tmp_path):
    for number in range(50):
        folder = tmp_path / "set" / f"Port{'abcde'[number % 5]}"
        folder.mkdir(parents=True, exist_ok=True)
        scene(number).save(folder / f"{number}.png")
    target = open_target(tmp_path / "set", format="class_folders")
    sides = read_back(tmp_path / "out", split(target, tmp_path / "out", (0.6, 0.2, 0.2), by="class"))
    assert {side: Counter(r.turns[0].answer for r in records) for side, records in sides.items()} == {
        side: {f"Port{letter}": count for letter in "abcde"} for side, count in (("train", 6), ("val", 2), ("test", 2))
    }
    assert all(record.task == "classification" for records in sides.values() for record in records)
    listed = json.loads((tmp_path / "out/images.splits").read_text())["images"]
    assert Counter(entry["split"] for entry in listed) == {"train": 30, "val": 10, "test": 10}
    # readers that keep more of the original follow it
    options = {"split_file": str(tmp_path / "out/images.splits")}
    followed, _ = read_with_problems(SourceConfig("class_folders", str(tmp_path / "set"), options=options), "x")
    assert Counter(record.split for record in followed) == {"train": 30, "val": 10, "test": 10}


def test_a_classification_asked_in_free_words_can_be_read_back(tmp_path):
    (tmp_path / "set/Farm").mkdir(parents=True)
    scene(1).save(tmp_path / "set/Farm/1.png")
    source = SourceConfig("class_folders", str(tmp_path / "set"), options={"question": "what is it?"})
    written = split(Target(tmp_path / "set", {"set": source}), tmp_path / "out", (1, 0, 0))
    (record,) = read_back(tmp_path / "out", written)["train"]
    assert (record.task, record.turns[0].question, record.turns[0].answer) == ("vqa", "what is it?", "Farm")


def test_captions_of_an_image_are_one_line_whatever_its_side(tmp_path):
    images = []
    for number in range(10):
        (tmp_path / "images").mkdir(exist_ok=True)
        scene(number).save(tmp_path / f"images/{number}.png")
        captions = [{"raw": f"a pier {number}"}, {"raw": f"a boat {number}"}, {"raw": f"a pier {number}"}]
        images.append({"filename": f"{number}.png", "split": ["train", "test"][number % 2], "sentences": captions})
    (tmp_path / "set.json").write_text(json.dumps({"dataset": "Set", "images": images}))
    target = open_target(tmp_path / "set.json", format="karpathy")
    sides = read_back(tmp_path / "out", split(target, tmp_path / "out", (0.5, 0.0, 0.5)))
    assert {side: len(records) for side, records in sides.items()} == {"train": 15, "test": 5}
    for record in sides["test"]:
        number = Path(record.images[0]).stem
        assert record.references["captions"] == [f"a pier {number}", f"a boat {number}", f"a pier {number}"]


def test_frames_shown_together_and_texts_without_images(make, tmp_path):
    extra = [
        {"image": ["p0.png", "p1.png"], "text": "compare", "ground_truth": "alike"},
        {"text": "hello", "ground_truth": "hello"},
    ]
    written = split(make({f"p{n}.png": n for n in range(6)}, extra), tmp_path / "out", (0.5, 0.0, 0.5))
    sides = read_back(tmp_path / "out", written)
    assert written["skipped"] == 1 and sum(map(len, sides.values())) == 19
    assert any({"p0.png", "p1.png"} <= names(records) for records in sides.values())


@given(st.lists(st.integers(1, 6), min_size=1, max_size=30), st.integers(0, 3))
def test_shares_are_met_as_far_as_units_allow(sizes, seed):
    units = _Units()
    for size in sizes:
        first = units.add()
        for _ in range(size - 1):
            units.join(first, units.add())
    groups = units.groups()
    assert sorted(map(len, groups.values())) == sorted(sizes)
    sides = _divide(groups, [list(groups)], [f"{n:03}" for n in range(sum(sizes))], (0.6, 0.0, 0.4), seed)
    assert set(sides) <= {"train", "test"}
    assert all(len({sides[n] for n in members}) == 1 for members in groups.values())
    # the last unit of a side was put there while something was wanting: no side has more than a unit too much
    assert sides.count("train") <= 0.6 * len(sides) + max(sizes) and sides.count("test") <= 0.4 * len(sides) + max(
        sizes
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (0.5, 0.4, 0.2)}, "not three shares with sum 1"),
        ({"fractions": (1.5, -0.5, 0.0)}, "not three shares with sum 1"),
        ({"fractions": (float("nan"), 0.0, 1.0)}, "not three shares with sum 1"),
        ({"by": "prefix", "prefix": "("}, "is no regular expression"),
        ({"by": "prefix", "prefix": "abc"}, "has no group"),
        ({"prefix": "(abc)"}, "belongs to --by prefix"),
        ({"by": "name"}, "unknown way"),
    ],
)
def test_mistakes(make, tmp_path, options, message):
    with pytest.raises(SkyEyeError, match=message):
        split(make({"a.png": 1}), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over_and_nothing_is_left_of_a_failure(make, tmp_path, monkeypatch, capsys):
    target = make({f"p{n}.png": n for n in range(10)})
    arguments = ["data", "split", str(target.path), "--format", "llava", "--images", str(tmp_path / "set/images")]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "out/train.jsonl: 24 records, 8 images" in capsys.readouterr().out
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "exists already" in capsys.readouterr().err
    monkeypatch.setattr("skyeye.curate.split._asked", lambda record: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        split(target, tmp_path / "failed")
    assert list((tmp_path / "failed").iterdir()) == []
