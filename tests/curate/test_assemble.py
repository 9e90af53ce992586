"""``skyeye data assemble``: what of SkyEye-968k is on disk, under which names, and the shards made of it."""

import hashlib
import json
import shutil

import pytest

from skyeye.cli import main
from skyeye.curate.assemble import assemble, format_text
from skyeye.curate.image_search import find_folders
from skyeye.data.shards.groups import ShardGroups
from skyeye.data.shards.index import ShardSet
from skyeye.errors import SkyEyeError


@pytest.fixture
def release(tmp_path, write_release):
    return write_release(tmp_path)


def bytes_of(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "sources.yaml"
    }


def test_all_that_is_published_is_found_and_packed(release, tmp_path):
    report = assemble(release[0], [release[1]], tmp_path / "out")
    assert report["complete"] and len(report["rows"]) == 17
    assert {row["source"]: row["found"] for row in report["rows"]}["RSIVQA"] == 3 * 9
    assert all(row["missing"] == 0 for row in report["rows"])
    assert {images["by"] for images in report["images"]} == {"name"}
    assert report["shards"]["samples"] == 19 * 9
    groups = ShardGroups(ShardSet(tmp_path / "out"), "pg_dior")
    assert groups.tasks() == ["detection"] and groups.samples == 9
    assert groups[0].records[0].source == "RSPG"


def test_two_missing_roots_and_a_renamed_one_give_the_same_shards_for_any_number_of_workers(release, tmp_path, capsys):
    tree, images = release
    shutil.rmtree(images / "NWPU-RESISC45")
    shutil.rmtree(images / "RSVG")
    (images / "RSVQA_HR").rename(images / "aerial photographs")
    (images / "aerial photographs/Data").rename(images / "aerial photographs/tiles")
    command = ["data", "assemble", str(tree), "--images", str(images)]
    refused = tmp_path / "refused"
    assert main([*command, "--out", str(refused), "--json", str(tmp_path / "refused.json")]) == 1
    assert not refused.exists()
    said = capsys.readouterr().out
    assert "NWPU-RESISC45: MISSING, " in said and "get it from https://gcheng-nwpu.github.io/" in said
    outs = [tmp_path / f"out{workers}" for workers in (1, 2, 3)]
    for workers, out in zip("123", outs, strict=True):
        options = ["--out", str(out), "--workers", workers, "--shard-mb", "1", "--json", str(tmp_path / "report.json")]
        assert main([*command, "--allow-missing", *options]) == 0
    assert bytes_of(outs[0]) == bytes_of(outs[1]) == bytes_of(outs[2])
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {(row["task"], row["source"]): row for row in report["rows"]}
    assert [rows["captioning", "NWPU-Captions"][key] for key in ("thousands", "annotated", "found", "missing")] == [
        126.0, 9, 0, 9,
    ]  # fmt: skip
    assert rows["visual grounding", "RSVG"]["missing"] == 9
    assert sum(row["missing"] for row in report["rows"]) == 18
    by_set = {images["set"]: images for images in report["images"]}
    assert by_set["RSVQA-HR"]["by"] == "content"
    assert by_set["RSVQA-HR"]["folder"].endswith("aerial photographs/tiles")
    assert by_set["RSVG"]["folder"] is None and by_set["RSVG"]["home"].startswith("https://")
    assert report["shards"]["samples"] == 17 * 9 and report["complete"] is False
    assert "vg_rsvg" not in ShardSet(outs[0]).sources


def test_single_images_and_annotation_files_that_are_missing_count(release, tmp_path):
    tree, images = release
    (tree / "vqa/EARVqa.json").unlink()
    (tree / "vqa/own.json").write_text("[]")
    named = [entry["image"] for entry in json.loads((tree / "caption/caption_RSICD_train.json").read_text())]
    (images / "RSICD_images" / named[0]).unlink()
    report = assemble(tree, [images], tmp_path / "out")
    assert report["shards"] is None and not (tmp_path / "out").exists()
    assert report["rows"][0]["missing"] == named.count(named[0])
    assert report["files"] == {"missing": ["EARVqa.json"], "unknown": ["vqa/own.json"]}
    words = format_text(report)
    assert "annotations MISSING: EARVqa.json" in words and "left aside: vqa/own.json" in words
    packed = assemble(tree, [images], tmp_path / "out", allow_missing=True)["shards"]
    assert packed["samples"] == 18 * 9 - named.count(named[0]) and packed["skipped"] == named.count(named[0])


def test_numbered_sets_are_not_taken_for_each_other(tmp_path, names_of):
    # Sydney (1 .. 613) would be found whole in UC Merced (1 .. 2100): the names alone are no proof
    counts = {"UCMerced": 210, "sydney_caption/imgs": 61, "Images_LR": 77, "RSVQA_HR/Data": 106}
    names = {folder: set(names_of(folder, count)) for folder, count in counts.items()}
    for folder in counts:
        (tmp_path / folder).mkdir(parents=True)
        for name in names[folder]:
            (tmp_path / folder / name).touch()
    (tmp_path / "UCMerced").rename(tmp_path / "a")
    (tmp_path / "sydney_caption").rename(tmp_path / "b")
    (tmp_path / "Images_LR").rename(tmp_path / "c")
    found = find_folders([tmp_path], names)
    assert {hint: str(f.folder.relative_to(tmp_path)) for hint, f in found.items()} == {
        "UCMerced": "a",
        "sydney_caption/imgs": "b/imgs",
        "Images_LR": "c",
        "RSVQA_HR/Data": "RSVQA_HR/Data",
    }
    shutil.rmtree(tmp_path / "b")
    assert "sydney_caption/imgs" not in find_folders([tmp_path], names)
    assert "sydney_caption/imgs" not in find_folders([tmp_path], {"sydney_caption/imgs": names["sydney_caption/imgs"]})


def test_a_folder_serves_the_one_set_that_it_fits_best(tmp_path):
    (tmp_path / "renamed").mkdir()
    names = {"Images_LR": {f"{n}.tif" for n in range(77)}, "sydney_caption/imgs": {f"{n}.tif" for n in range(1, 62)}}
    for name in names["Images_LR"]:
        (tmp_path / "renamed" / name).touch()
    found = find_folders([tmp_path], names)
    assert list(found) == ["Images_LR"] and found["Images_LR"].folder == tmp_path / "renamed"


def test_a_folder_of_the_right_name_and_the_wrong_content_is_not_taken(tmp_path):
    for folder, names in {"DOTA": ["readme_1.png"], "old/train": ["P0001.png", "P0002.png", "P0003.png"]}.items():
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).touch()
    found = find_folders([tmp_path], {"DOTA": {"P0001", "P0002.png", "P0003.png"}})["DOTA"]
    assert found.folder == tmp_path / "old/train" and not found.named and found.present == 3


def test_class_folders_belong_to_the_folder_above(tmp_path):
    for n in range(9):
        (tmp_path / f"photos/class_{n % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"photos/class_{n % 3}/class_{n % 3}_{n:03}.jpg").touch()
    names = {f"class_{n % 3}_{n:03}.jpg" for n in range(9)}
    assert find_folders([tmp_path], {"NWPU-RESISC45": names})["NWPU-RESISC45"].folder == tmp_path / "photos"


def test_what_is_no_tree_or_no_root_is_refused(tmp_path, write_release):
    with pytest.raises(SkyEyeError, match="is not a folder"):
        assemble(tmp_path / "no", [tmp_path], tmp_path / "out")
    with pytest.raises(SkyEyeError, match="holds none of the annotation files"):
        assemble(tmp_path, [tmp_path], tmp_path / "out")
    tree, _images = write_release(tmp_path / "made")
    with pytest.raises(SkyEyeError, match="the image folder does not exist"):
        assemble(tree, [tmp_path / "no"], tmp_path / "out")
