"""Files written from what is known of UAVIT-1M and UAVBench (docs/uavit.md)."""

import json
from pathlib import Path

import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems
from skyeye.data.formats.instructions.uavit import TASK_OF
from skyeye.data.formats.instructions.uavit_scale import data_set_of
from skyeye.data.groups import open_source
from skyeye.errors import SkyEyeError

IMAGE = "ERA/train/Harvesting/a.jpg"
BOX = "{<10><20><30><40>}"
#: Tag -> a question and its answer.
SAID = {
    "img_cls": (
        "Classify. Given classes: harvesting, fire and flood. Answer.",
        "harvesting",
    ),
    "deta_cls": ("What is it in detail?", "a wheat harvest"),
    "img_cap": ("describe", "a field"),
    "deta_cap": ("describe in detail", "a field with a tractor"),
    "vqa": ("is there a tractor?", "yes"),
    "count": ("how many tractors?", "3"),
    "det": ("<p>tractor</p>", f"<p>tractor</p>{BOX}<delim>{{<50><50><60><60>}}"),
    "vg": ("where is <p>the tractor</p>?", BOX),
    "reg_cls": (f"what is {BOX}?", "tractor"),
    "reg_cap": (f"describe {BOX}", "a red tractor"),
    "reg_vqa": (f"which colour has {BOX}?", "red"),
}


def row(tag, question, answer, image=IMAGE, **more):
    said = [{"from": "human", "value": f"<image>\n[{tag}] {question}"}, {"from": "gpt", "value": answer}]
    return {"id": image.partition("/")[2], "image": image, "conversations": said, **more}


@pytest.fixture
def tree(tmp_path, write_images):
    """(rows, name, options) -> records, problems."""

    def read(rows, name="UAVIT-1M.json", missing=(), **options):
        names = {item.get("image") for item in rows if isinstance(item, dict) and isinstance(item.get("image"), str)}
        write_images(
            tmp_path / "images", *sorted(n.strip("'\"").replace("\\", "/") for n in names if n not in missing and n)
        )
        (tmp_path / name).write_text(json.dumps(rows))
        source = SourceConfig("uavit", str(tmp_path / name), str(tmp_path / "images"), None, options)
        return read_with_problems(source, "uavit")

    return read


def test_the_eleven_tags(tree):
    records, problems = tree([row(tag, *said) for tag, said in SAID.items()])
    assert not problems and [record.task for record in records] == [TASK_OF[tag] for tag in SAID]
    assert len(set(TASK_OF.values())) == 11 and {record.source for record in records} == {"ERA"}
    of = {record.task: record for record in records}
    assert of["classification"].references == {"answer": "harvesting", "classes": ["harvesting", "fire", "flood"]}
    assert of["counting"].references == {"answer": "3"} and of["counting"].turns[0].question == "how many tractors?"
    assert of["detail"].references == {"captions": ["a field with a tractor"]}
    assert of["refer"].references["boxes"] == [pytest.approx([0.1, 0.2, 0.3, 0.4])]
    assert len(of["detection"].references["boxes"]) == 2
    for task in ("region_classification", "identify", "region_vqa"):
        assert of[task].references["boxes"] == [pytest.approx([0.1, 0.2, 0.3, 0.4])]
    assert of["identify"].references["captions"] == ["a red tractor"]


def test_the_example_of_its_readers(tree):
    said = [
        {"from": "human", "value": "<image>\n[img_cls] Classify the image within the given classes: a, b and c."},
        {"from": "gpt", "value": "b"},
    ]
    (record,), problems = tree(
        [{"id": "Harvesting/x.jpg", "image": "ERA/train/Harvesting/x.jpg", "conversations": said}]
    )
    assert not problems and record.references == {"answer": "b", "classes": ["a", "b", "c"]}


@pytest.mark.parametrize("write", [json.dumps, repr])
def test_conversations_as_a_string_that_holds_a_list(tree, write):
    rows = [row(tag, *said) for tag, said in SAID.items()] + [row("vqa", 'what\'s "it"?', "a 'barn'")]
    whole, _ = tree(rows, "a_test.json")
    texts, problems = tree([{**r, "conversations": write(r["conversations"])} for r in rows], "b_test.json")
    assert not problems and [r.turns for r in texts] == [r.turns for r in whole]
    assert [r.references for r in texts] == [r.references for r in whole]


def boxes(unit, tag, count, side, small=0):
    """So many records with boxes in 0..side, ``small`` of them in the upper left corner."""
    sound = [
        row(tag, f"where is {n}?", f"{{<{side // 5}><{side // 4}><{side // 2}><{side}>}}") for n in range(count - small)
    ]
    near = [row(tag, f"where was {n}?", "{<10><20><30><40>}") for n in range(small)]
    return [{**item, "image": f"{unit}/train/a.jpg"} for item in sound + near]


def test_the_scale_of_each_unit_is_found_and_told(tree):
    rows = boxes("ERA", "vg", 20, 100) + boxes("UAV123", "vg", 19, 1000, small=1) + boxes("UAV123", "vg", 1, 1000)
    records, problems = tree(rows)
    assert [str(p.what).split(":")[0] for p in problems] == [
        "boxes of ERA/vg are read as 0..100",
        "boxes of UAV123/vg are read as 0..1000",
    ]
    assert "19 of 20 records with boxes have a number above 100" in problems[1].what
    assert all(problem.count == 0 and problem.kind == "box scale" for problem in problems)
    found = {record.source: record.references["boxes"][0] for record in records[:39:19]}
    assert found["ERA"] == pytest.approx([0.2, 0.25, 0.5, 1])
    assert records[20].references["boxes"][0] == pytest.approx([0.2, 0.25, 0.5, 1])
    assert records[38].references["boxes"][0] == pytest.approx([0.01, 0.02, 0.03, 0.04])  # a small box in thousandths


def test_a_unit_of_few_boxes_goes_by_its_file(tree):
    records, _ = tree(boxes("UAV123", "vg", 30, 1000) + boxes("ERA", "vg", 1, 1000, small=1))
    assert records[-1].references["boxes"][0] == pytest.approx([0.01, 0.02, 0.03, 0.04])
    records, _ = tree(boxes("UAV123", "vg", 30, 1000) + boxes("ERA", "vg", 3, 100, small=3), "b.json")
    assert records[-1].references["boxes"][0] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_one_unit_with_two_scales_is_named_and_counted(tree):
    rows = boxes("ERA", "vg", 10, 100) + boxes("ERA", "vg", 10, 1000) + [row("reg_cls", *SAID["reg_cls"])]
    records, problems = tree(rows + [row("vqa", *SAID["vqa"])] * 20)
    assert [record.task for record in records] == ["region_classification", *["vqa"] * 20]
    two = [problem for problem in problems if problem.kind == "two box scales"]
    assert len(two) == 20 and "unit ERA/vg has boxes in 0..100 and in 0..1000" in two[0].what
    assert "options.scale: {ERA/vg: 100}" in two[0].what


@pytest.mark.parametrize("scale", [1000, {"ERA/vg": 1000}, {"ERA": 1000}, {"vg": 1000}])
def test_the_scale_may_be_given(tree, scale):
    records, problems = tree(boxes("ERA", "vg", 4, 100), scale=scale)
    assert not problems and records[0].references["boxes"][0] == pytest.approx([0.02, 0.025, 0.05, 0.1])
    with pytest.raises(SkyEyeError, match=r"500 is no scale of boxes"):
        tree(boxes("ERA", "vg", 1, 100), scale=500)


@pytest.mark.parametrize(("side", "beyond"), [(100, "{<1><2><50><101>}"), (1000, "{<1><2><50><1001>}")])
def test_boxes_beyond_the_scale_are_counted(tree, side, beyond):
    records, problems = tree([*boxes("ERA", "vg", 30, side), row("vg", "where?", beyond)])
    (bad,) = [problem for problem in problems if problem.count]
    assert len(records) == 30 and bad.kind == "box outside the image" and "record 30" in bad.where


def test_bad_records_are_named_and_counted(tree):
    nan = float("nan")
    rows = [
        row("vqa", "a?", "b"),
        row("vqa", "a?", "b", conversations=[]),
        row("vqa", "a?", "b", conversations="[]"),
        row("vqa", "a?", "b", conversations=nan),
        row("vqa", "a?", nan),
        row("vqa", "a?", "b", conversations="[{'from': 'human'"),
        row("moon", "a?", "b"),
        row("vg", "where?", "nowhere"),
        row("reg_vqa", "what?", "red"),
        row("vg", "where?", "{<1><2><3>}"),
        row("vqa", "a?", "b", "ERA/train/gone.jpg"),
        "no record",
        {**row("vqa", "a?", "b"), "image": nan, "id": nan},
        row("vqa", "a?", "b"),
        *[row("vqa", f"a {n}?", "b") for n in range(20)],
    ]
    records, problems = tree(rows, missing=("ERA/train/gone.jpg",))
    kinds = [(p.kind, int(p.where.rpartition(" ")[2])) for p in problems]
    assert kinds == [
        *[("no conversation", n) for n in (1, 2, 3)],
        ("no answer", 4),
        ("no conversation", 5),
        ("unknown tag", 6),
        ("no box", 7),
        ("no box", 8),
        ("malformed box", 9),
        ("missing image", 10),
        ("not a record", 11),
        ("no image", 12),
    ]
    assert len(records) == 22


@pytest.mark.parametrize(
    ("image", "data_set"),
    [
        ("ERA/train/a.jpg", "ERA"),
        ("ERA\\train\\a.jpg", "ERA"),
        ("./WebUAV-3M/a/b.jpg", "WebUAV-3M"),
        ("D:\\zhan\\UAV123\\bike\\a.jpg", "UAV123"),
        ("/root/data/era/train/a.jpg", "era"),
        ("a.jpg", ""),
    ],
)
def test_the_data_set_is_the_first_folder(image, data_set):
    assert data_set_of(image) == data_set


def test_windows_paths_and_quotes(tree, tmp_path):
    records, problems = tree([row("vqa", "a?", "b", "ERA\\train\\a.jpg"), row("vqa", "c?", "d", "'ERA/train/b.jpg'")])
    assert not problems
    assert [Path(r.images[0]).relative_to(tmp_path / "images").as_posix() for r in records] == [
        "ERA/train/a.jpg",
        "ERA/train/b.jpg",
    ]


def test_images_under_several_roots(tree, tmp_path, write_images):
    rows = [row("vqa", "a?", "b", f"{name}/train/a.jpg") for name in ("ERA", "UAV123", "Gone")]
    for root in ("first/ERA", "second/UAV123"):
        write_images(tmp_path / root, "train/a.jpg")
    roots = [str(tmp_path / "first/ERA"), str(tmp_path / "second/UAV123")]
    records, problems = tree(rows[:2], roots=roots)
    assert [r.images[0] for r in records] == [f"{root}/train/a.jpg" for root in roots] and not problems
    records, problems = tree(rows, roots={"era": roots[0], "UAV123": f"{tmp_path}/second"})
    assert [r.images[0] for r in records] == [f"{root}/train/a.jpg" for root in roots]
    assert [p.kind for p in problems] == ["missing image"] and "none is given for Gone" in problems[0].what
    _, problems = tree(rows[2:] + rows[:1], roots=roots)
    assert [p.kind for p in problems] == ["ambiguous image"] and "2 files" in problems[0].what


def test_the_split_is_in_the_name_of_the_file(tree):
    for name, split in (("UAVIT-1M.json", "train"), ("UAVBench.json", "test"), ("UAVBench_train.json", "train")):
        assert tree([row("vqa", "a?", "b")], name)[0][0].split == split


def test_parts_know_the_scale_of_the_whole_file(tmp_path, write_images, monkeypatch):
    """The first half of the file has boxes in the corner alone."""
    from skyeye.data import parts

    rows = boxes("ERA", "vg", 20, 1000, small=20) + boxes("ERA", "vg", 400, 1000)
    write_images(tmp_path, "ERA/train/a.jpg")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    source = SourceConfig("uavit", str(tmp_path / "a.json"), str(tmp_path))
    alone, told = open_source(source, "x", index=False)
    monkeypatch.setattr(parts, "LEAST", 1)
    monkeypatch.setattr(parts.os, "sched_getaffinity", lambda _: {0, 1})
    together, told_in_parts = open_source(source, "x", index=False)
    assert alone.fingerprint == together.fingerprint and told == told_in_parts
    assert [problem.kind for problem in told] == ["box scale"]
    assert alone[0].records[0].references["boxes"][0] == pytest.approx([0.01, 0.02, 0.03, 0.04])
