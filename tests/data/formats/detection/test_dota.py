import pytest

from skyeye.errors import SkyEyeError

HEADER = "imagesource:GoogleEarth\ngsd:0.146343590398\n"


@pytest.fixture
def folder(tmp_path, write_images):
    write_images(tmp_path, "images/P0001.png", "images/P0002.png", size=(200, 100))
    (tmp_path / "labelTxt").mkdir()
    (tmp_path / "dota_train_vqa2.txt").write_text("P0001: how many planes?1\n")  # not a label file
    return tmp_path


def test_pixels_become_fractions_of_this_image(folder, read):
    (folder / "labelTxt/P0001.txt").write_text(HEADER + "20 10 60.5 10 60.5 50 20 50 large-vehicle 0\n")
    (folder / "labelTxt/P0002.txt").write_text("100 20 140 60 100 100 60 60 plane 0\n")  # no header
    records, skipped = read("dota", folder)
    assert not skipped
    refer = [(r.references["phrase"], r.turns[0].answer) for r in records if r.task == "refer"]
    assert refer == [("the large vehicle", "{<10><10><30><50>}"), ("the plane", "{<30><20><70><100>}")]
    assert records[0].references["boxes"] == [[0.1, 0.1, 0.3025, 0.5]]
    plane = next(r for r in records if r.references["phrase"] == "the plane")
    assert plane.references["polygons"] == [[0.5, 0.2, 0.7, 0.6, 0.5, 1.0, 0.3, 0.6]]
    assert plane.regions[0].polygon == (0.5, 0.2, 0.7, 0.6, 0.5, 1.0, 0.3, 0.6)


def test_what_does_not_fit_is_told(folder, read):
    lines = [
        "100 20 140 60 100 100 60 60 plane 0",
        "100 20 140 60 100 100 60 plane 0",
        "100 20 140 60 100 100 60 60 plane hard",
        "100 20 140 60 100 100 60 60",
        "5 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2",
        "100 20 140 60 100 100 60 60 ship 1",
        "10 10 12 10 12 12 10 12 ship 0",
        "10 10 10 10 10 10 10 10 car 0",
        "300 10 400 10 400 50 300 50 car 0",
        "10 10 nan 10 40 50 10 50 boat 0",
    ]
    (folder / "labelTxt/P0001.txt").write_text(HEADER + "\n".join(lines))
    (folder / "labelTxt/P0002.txt").write_text(
        "100 20 140 60 100 100 60 60 plane 0\n100 20 140 60 100 100 60 60 lake 0\n"
    )
    (folder / "labelTxt/P0009.txt").write_text(HEADER)
    records, skipped = read("dota", folder)
    assert len(records) == 9
    assert skipped == {
        "malformed line": 4,
        "difficult": 1,
        "too small": 1,
        "inverted box": 2,
        "box outside the image": 1,
        "missing image": 1,
    }


def test_unreadable_image(folder, read):
    for name in ("P0001", "P0002"):
        (folder / f"labelTxt/{name}.txt").write_text("100 20 140 60 100 100 60 60 plane 0\n")
    (folder / "images/P0002.png").write_bytes(b"not an image")
    records, skipped = read("dota", folder)
    assert (len(records), skipped) == (3, {"unreadable image": 1})


def test_the_folder_says_the_split(tmp_path, write_images, read):
    write_images(tmp_path / "val", "images/P0001.png", size=(200, 100))
    (tmp_path / "val/labelTxt").mkdir()
    (tmp_path / "val/labelTxt/P0001.txt").write_text("100 20 140 60 100 100 60 60 plane 0\n")
    assert {r.split for r in read("dota", tmp_path / "val")[0]} == {"val"}


def test_labels_of_another_format(folder, read):
    (folder / "labelTxt/P0001.txt").write_text("5 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2\n")
    with pytest.raises(SkyEyeError, match="YOLO-OBB is format yolo"):
        read("dota", folder)
