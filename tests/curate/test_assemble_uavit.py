"""``skyeye data assemble uavit``: rows by unit, images by data set, and shards."""

import json

import pytest

from skyeye.cli import main
from skyeye.curate.detect.sniff import sniff_format
from skyeye.data.shards.groups import ShardGroups
from skyeye.data.shards.index import ShardSet


def row(image, tag, question, answer):
    said = [{"from": "human", "value": f"<image>\n[{tag}] {question}"}, {"from": "gpt", "value": answer}]
    return {"id": image, "image": image, "conversations": said}


@pytest.fixture
def tree(tmp_path, write_images):
    """One data set under its own name, one under another, one that is not there."""
    write_images(tmp_path / "disk/ERA/train/Fire", "a.jpg", "b.jpg")
    write_images(tmp_path / "disk/drone pictures", "bike/1.jpg", "bike/2.jpg")
    rows = [
        *[row(f"ERA/train/Fire/{n}.jpg", "img_cls", "Given classes: fire and flood.", "fire") for n in "abb"],
        *[row("UAV123\\bike\\1.jpg", "vg", f"where {n}?", "{<10><20><300><400>}") for n in range(3)],
        row("UAV123\\bike\\2.jpg", "vg", "where?", "nowhere"),
        row("WebUAV-3M/x/1.jpg", "vqa", "is it there?", "yes"),
        {**row("ERA/train/Fire/a.jpg", "vqa", "?", "!"), "conversations": "[]"},
    ]
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/UAVIT-1M.json").write_text(json.dumps(rows))
    return tmp_path / "tree", tmp_path / "disk"


def test_units_are_counted_and_what_is_there_is_packed(tree, tmp_path, capsys):
    command = ["data", "assemble", "uavit", str(tree[0]), "--images", str(tree[1]), "--out", str(tmp_path / "out")]
    assert main(command) == 1 and not (tmp_path / "out").exists()
    assert "--allow-missing packs what is there" in capsys.readouterr().out
    more = ["--allow-missing", "--workers", "1", "--json", str(tmp_path / "report.json")]
    assert main([*command, *more]) == 0
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    units = {f"{r['data_set']}/{r['tag']}": r for r in report["rows"]}
    counts = {
        name: tuple(r[key] for key in ("rows", "found", "missing", "broken", "repeated", "scale"))
        for name, r in units.items()
    }
    assert counts == {
        "ERA/img_cls": (3, 3, 0, 0, 1, "-"),
        "ERA/(none)": (1, 0, 0, 1, 0, "-"),
        "UAV123/vg": (4, 3, 0, 1, 0, "1000"),
        "WebUAV-3M/vqa": (1, 0, 1, 0, 0, "-"),
    }
    assert "9 rows where 1,240,666 are published; 4 units (UAVBench has 43)" in said
    assert "WebUAV-3M: 0 of 1 images MISSING" in said and "UAV123: 2 of 2 images in" in said
    assert "broken: 1 x no conversation" in said and "broken: 1 x no box" in said
    groups = ShardGroups(ShardSet(tmp_path / "out"), "uavit-1m")
    assert groups.samples == 6 and set(groups.tasks()) == {"classification", "refer"}


def test_its_files_are_recognised(tree):
    assert sniff_format(tree[0] / "UAVIT-1M.json") == "uavit"
    (tree[0] / "b.jsonl").write_text(json.dumps(row("ERA/a.jpg", "vg", "where?", "{<1><2><3><4>}")) + "\n")
    assert sniff_format(tree[0] / "b.jsonl") == "uavit"
    (tree[0] / "c.json").write_text(json.dumps([row("a.jpg", "vqa", "is [it]?", "yes")]))
    assert sniff_format(tree[0] / "c.json") == "llava"


def test_a_folder_without_such_a_file_is_said(tmp_path, capsys):
    (tmp_path / "other.json").write_text("[]")
    for place in (tmp_path, tmp_path / "other.json"):
        assert main(["data", "assemble", "uavit", str(place), "--images", str(tmp_path), "--out", f"{tmp_path}/o"]) == 2
        assert "UAVIT-1M or UAVBench" in capsys.readouterr().err
