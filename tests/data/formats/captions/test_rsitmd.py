import pytest

from skyeye.errors import SkyEyeError


@pytest.fixture
def folder(tmp_path, write_images):
    write_images(tmp_path, "images/a.tif", "images/b.tif", "images/c.tif")
    (tmp_path / "train_filename.txt").write_text("a.tif\nb.tif\n")
    (tmp_path / "train_caps.txt").write_text("A ship .\nTwo ships.\nA field\nGrass\n")
    (tmp_path / "test_filename.txt").write_text("c.tif\nc.tif\n")
    (tmp_path / "test_caps.txt").write_text("Water.\nSea.\n")
    return tmp_path


def test_one_name_for_several_captions_and_one_for_each(folder, read):
    records, skipped = read("rsitmd", folder)
    assert not skipped
    assert [(r.id, r.split, r.images[0][-5:], r.turns[0].answer, r.references["captions"]) for r in records] == [
        ("c.tif", "test", "c.tif", "water", ["Water.", "Sea."]),
        ("train:0:0", "train", "a.tif", "a ship", ["A ship .", "Two ships."]),
        ("train:0:1", "train", "a.tif", "two ships", ["A ship .", "Two ships."]),
        ("train:2:0", "train", "b.tif", "a field", ["A field", "Grass"]),
        ("train:2:1", "train", "b.tif", "grass", ["A field", "Grass"]),
    ]
    assert {r.source for r in records} == {"RSITMD"}
    assert records[0].turns[0].question == "[caption] briefly describe the image"
    assert [r.id for r in read("rsitmd", folder, split="test")[0]] == ["c.tif"]
    assert len(read("rsitmd", folder / "train_filename.txt", folder / "images")[0]) == 4


def test_what_does_not_fit_is_told(folder, items):
    (folder / "train_filename.txt").write_text("a.tif\n\nz.tif\nb.tif\n")
    (folder / "train_caps.txt").write_text("x\ny\nx\ny\nx\ny\nx\n \n")
    records, skipped = items("rsitmd", folder, split="train")
    assert [r.id for r in records] == ["train:0:0", "train:0:1", "train:6:0"]
    assert skipped == {"missing image": 2, "no image": 2, "no answer": 1}


def test_lists_that_are_not_parallel_are_refused(folder, read):
    (folder / "train_caps.txt").write_text("A ship .\nTwo ships.\nA field\n")
    with pytest.raises(SkyEyeError, match="3 captions are no multiple of the 2 names in train_filename.txt"):
        read("rsitmd", folder)


def test_signs_that_part_lines_elsewhere_stay_in_the_caption(folder, read):
    (folder / "test_caps.txt").write_text("Water\u2028and\x85sand.\nSea.\n")
    assert read("rsitmd", folder, split="test")[0][0].references["captions"] == ["Water\u2028and\x85sand.", "Sea."]


def test_a_folder_without_lists(tmp_path, read):
    with pytest.raises(SkyEyeError, match="no <split>_filename.txt"):
        read("rsitmd", tmp_path)
