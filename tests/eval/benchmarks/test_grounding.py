import shutil

import pytest
import torch

from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import BENCHMARKS
from skyeye.eval.results import Answer

LINE = "1.jpg,10,20,50,60,find a pool on the left\n"
BOX = "{<10><20><50><60>}"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("rsvg.val", "RSVG/rsvg_val.txt"),
        ("rsvg.test", "RSVG/rsvg_test.txt"),
        ("rsvg_hr.test", "RSVG-HR/Annotations/rsvg_hr_test.txt"),
    ],
)
def test_lines(tmp_path, write, write_images, load, score, name, file):
    folder = tmp_path / file.split("/")[0]
    write(folder / "rsvg_hr_train.txt", LINE)
    with pytest.raises(SkyEyeError, match=f"nothing here is named {file.rsplit('/', 1)[1]}"):
        BENCHMARKS[name].load(tmp_path)
    write(tmp_path / file, LINE * 3)
    write_images(folder / "images", "1.jpg", size=(100, 100))
    for root in (tmp_path, folder):
        records = load(name, root)
        stem = file.rsplit("/", 1)[1].removesuffix(".txt")
        assert [record.id for record in records] == [f"{stem}:{n}" for n in (1, 2, 3)]
        assert {r.turns[0].question for r in records} == {"[refer] where can I locate a pool on the left?"}
        assert records[0].references["size"] == [100, 100]
    half = "{<10><20><50><40>}"  # half of the true box: IoU is exactly 0.5, and a hit is more
    assert score(name, records, [BOX, half, ""]) == pytest.approx(100 / 3)
    shutil.rmtree(folder / "images")
    with pytest.raises(SkyEyeError, match="none of 3 records has its image"):  # the lines do not say the size
        load(name, tmp_path, "keep")


def test_saved_lists_of_rsvg(tmp_path, write, write_images, load):
    write_images(tmp_path / "RSVG/images", "1.jpg", size=(100, 100))
    for split in ("train", "val", "test"):
        torch.save([("1.jpg", [10, 20, 50, 60], f"the {split} pool", [], 1)], tmp_path / f"RSVG/rsvg_{split}.pth")
    for split in ("val", "test"):
        (record,) = load(f"rsvg.{split}", tmp_path)
        assert (record.id, record.references["phrase"]) == (f"rsvg_{split}:1", f"the {split} pool")


def xml(name, *objects):
    things = "".join(
        f"<object><name>{kind}</name><description>{words}</description>"
        f"<bndbox><xmin>{x}</xmin><ymin>80</ymin><xmax>{x + 80}</xmax><ymax>400</ymax></bndbox></object>"
        for kind, x, words in objects
    )
    size = "<size><width>800</width><height>800</height></size>"
    return f"<annotation><filename>{name}.jpg</filename>{size}{things}</annotation>"


OBJECTS = {
    "00001": [("ship", 0, "A red ship."), ("ship", 400, "The ship at the pier")],
    "00002": [("ship", 80, "A boat")],
}


@pytest.fixture
def dior_rsvg(tmp_path, write, write_images):
    folder = tmp_path / "DIOR_RSVG"
    for name, objects in OBJECTS.items():
        write(folder / f"Annotations/{name}.xml", xml(name, *objects))
        write_images(folder / "JPEGImages", f"{name}.jpg")
    write(folder / "train.txt", "0\n")
    write(folder / "test.txt", "1\n2\n")
    return folder


def test_dior_rsvg(dior_rsvg, load, score):
    for root in (dior_rsvg.parent, dior_rsvg):
        records = load("dior_rsvg.test", root)
        assert [(r.id, r.turns[0].question) for r in records] == [
            ("1", "[refer] where can I locate the ship at the pier?"),
            ("2", "[refer] where can I locate a boat?"),
        ]
        asked = load("dior.identify", root)
        assert [(r.id, r.turns[0].question, r.references["captions"]) for r in asked] == [
            ("1", "[identify] what object is in this location {<50><10><60><50>}", ["the ship at the pier"]),
            ("2", "[identify] what object is in this location {<10><10><20><50>}", ["a boat"]),
        ]
    assert score("dior_rsvg.test", records, ["{<50><10><60><50>}", "a boat"]) == 50
    answers = [Answer("the ship at the pier"), Answer("a ship")]
    assert BENCHMARKS["dior.identify"].metric(asked, answers).metrics["exact_match"] == 50
    shutil.rmtree(dior_rsvg / "JPEGImages")
    kept = load("dior_rsvg.test", dior_rsvg, "keep")  # the XML files say the size
    assert [(r.images, r.references) for r in kept] == [
        ((f"absent:0000{n}.jpg",), records[n - 1].references) for n in (1, 2)
    ]
    assert kept[0].references["size"] == [800, 800]
    assert len(load("dior.identify", dior_rsvg, "keep")) == 2


def test_images_of_dior_serve_dior_rsvg(dior_rsvg, write_images, load):
    shutil.rmtree(dior_rsvg / "JPEGImages")
    write_images(dior_rsvg.parent / "HRRSD/JPEGImages", "00001.jpg", "00002.jpg")  # the same names, other pictures
    with pytest.raises(SkyEyeError, match="none of 2 records has its image"):
        BENCHMARKS["dior_rsvg.test"].load(dior_rsvg.parent)
    write_images(dior_rsvg.parent / "DIOR", "JPEGImages-trainval/00001.jpg", "JPEGImages-test/00002.jpg")
    assert len(load("dior_rsvg.test", dior_rsvg.parent)) == 2


def test_dior_rsvg_without_the_test_list(dior_rsvg):
    (dior_rsvg / "test.txt").unlink()
    with pytest.raises(SkyEyeError, match="of other splits there is .*DIOR_RSVG/train.txt"):
        BENCHMARKS["dior_rsvg.test"].load(dior_rsvg.parent)


def test_rspg(tmp_path, write, write_images, load, score):
    boxes = "{<10><10><20><20>}<delim>{<60><60><80><80>}"
    talk = [
        {"from": "human", "value": "<image>\n[detection] The two ships"},
        {"from": "gpt", "value": f"<p>The two ships</p> {boxes}"},
    ]
    write(tmp_path / "phrasegrounding/diorpg_train.json", [{"image": "1.jpg", "conversations": talk}])
    with pytest.raises(SkyEyeError, match="diorpg_test.json or RSPG_test.json; of other splits .*diorpg_train.json"):
        BENCHMARKS["rspg"].load(tmp_path)
    write(tmp_path / "phrasegrounding/diorpg_test.json", [{"image": "1.jpg", "conversations": talk}])
    assert len(load("rspg", tmp_path, "keep")) == 1
    write_images(tmp_path / "DIOR/JPEGImages-test", "1.jpg")
    (record,) = load("rspg", tmp_path)
    assert (record.id, record.turns[0].question) == ("diorpg_test:0", "[detection] The two ships")
    assert score("rspg", [record], [boxes]) == 100
    # one of two boxes: precision 1, recall 1/2
    assert score("rspg", [record], ["{<60><60><80><80>}"]) == pytest.approx(100 * 2 / 3)


def test_phrases_from_the_boxes_of_dior(tmp_path, write, write_images, load):
    folder = tmp_path / "DIOR"
    for name, objects in OBJECTS.items():
        write(folder / f"Annotations/Horizontal Bounding Boxes/{name}.xml", xml(name, *objects))
    write(folder / "ImageSets/Main/train.txt", "00002\n")
    write(folder / "ImageSets/Main/test.txt", "00001\n")
    write_images(folder, "JPEGImages-test/00001.jpg", "JPEGImages-trainval/00002.jpg")
    for root in (tmp_path, folder):
        (record,) = load("rspg.boxes", root)
        assert (record.id, record.turns[0].question) == ("00001:detection:ship", "[detection] The two ships")
        assert len(record.references["boxes"]) == 2
    shutil.rmtree(folder / "JPEGImages-test")
    assert len(load("rspg.boxes", tmp_path, "keep")) == 1


def test_the_real_file_of_dior_rsvg(real, tmp_path, write, load, score):
    """Its one object is the first of the published test list; the other 7,499 need the other files."""
    there = real / "annotations_only/DIOR_RSVG"
    with pytest.raises(SkyEyeError, match="7499 records are broken and only 1 are sound"):
        BENCHMARKS["dior_rsvg.test"].load(real, "keep")
    folder = tmp_path / "DIOR_RSVG"
    write(folder / "Annotations/00001.xml", (there / "00001.xml").read_text())
    write(folder / "test.txt", (there / "test.txt").read_text().split("\n")[0])
    (record,) = load("dior_rsvg.test", tmp_path, "keep")
    assert (record.id, record.references["phrase"]) == ("0", "a green and brown golf field")
    assert record.references["boxes"] == [pytest.approx([133 / 800, 237 / 800, 684 / 800, 672 / 800])]
    (record,) = load("dior.identify", tmp_path, "keep")
    assert record.turns[0].question == "[identify] what object is in this location {<16><29><85><84>}"


def test_real_lines_of_rsvg_hr_are_training_data(real):
    with pytest.raises(SkyEyeError, match="rsvg_hr_test.txt; of other splits there is .*rsvg_hr_train.txt"):
        BENCHMARKS["rsvg_hr.test"].load(real)
