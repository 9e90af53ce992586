import pytest

from skyeye.errors import SkyEyeError


def thing(words, box=(80, 80, 400, 400)):
    sides = "".join(f"<{side}>{n}</{side}>" for side, n in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>ship</name><bndbox>{sides}</bndbox><description>{words}</description></object>"


def xml(name, *things):
    size = "<size><width>800</width><height>800</height></size>"
    return f"<annotation><filename>{name}.jpg</filename>{size}{''.join(things)}</annotation>"


@pytest.fixture
def folder(tmp_path, write_images):
    """Objects 0 and 1 in the first file, 2 in the third; the names do not count."""
    write_images(tmp_path, "JPEGImages/00002.jpg", "JPEGImages/00011.jpg", "JPEGImages/00100.jpg")
    (tmp_path / "Annotations").mkdir()
    files = {
        "00002": [thing("A red ship."), thing("the 2nd")],
        "00100": [thing("the 4th")],
        "00011": [thing("the 3rd")],
    }
    for name, things in files.items():
        (tmp_path / f"Annotations/{name}.xml").write_text(xml(name, *things))
    for split, numbers in {"train": "0\n2\n", "val": "3\n", "test": "1\n"}.items():
        (tmp_path / f"{split}.txt").write_text(numbers)
    return tmp_path


def test_lists_count_objects_over_the_sorted_files(folder, read):
    records, skipped = read("dior_rsvg", folder)
    assert not skipped
    assert [(r.id, r.split, r.references["phrase"], r.images[0][-9:]) for r in records] == [
        ("0", "train", "a red ship", "00002.jpg"),
        ("1", "test", "the 2nd", "00002.jpg"),
        ("2", "train", "the 3rd", "00011.jpg"),
        ("3", "val", "the 4th", "00100.jpg"),
    ]
    assert {r.turns[0].answer for r in records} == {"{<10><10><50><50>}"}
    assert [r.id for r in read("dior_rsvg", folder, split="train")[0]] == ["0", "2"]


def test_the_expression_of_a_box(folder, read):
    (record,), _ = read("dior_rsvg", folder, split="val", task="identify")
    assert record.turns[0].question == "[identify] what object is in this location {<10><10><50><50>}"
    assert (record.task, record.turns[0].answer) == ("identify", "the 4th")
    truths = {"boxes": [[0.1, 0.1, 0.5, 0.5]], "phrase": "the 4th", "size": [800, 800]}
    assert record.references == {**truths, "captions": ["the 4th"]}
    assert read("dior_rsvg", folder, split="val")[0][0].references == truths
    asked = {r.turns[0].question.split("{")[0] for r in read("dior_rsvg", folder, split="train", task="identify")[0]}
    assert asked <= {"[identify] what object is in this location ", "[identify] this "}
    with pytest.raises(SkyEyeError, match="unknown task 'refers'"):
        read("dior_rsvg", folder, task="refers")


def test_without_lists_every_object_is_taken(folder, read):
    for split in ("train", "val", "test"):
        (folder / f"{split}.txt").unlink()
    assert [r.split for r in read("dior_rsvg", folder, splits={"test": "00002*"})[0]] == [
        "test",
        "test",
        "train",
        "train",
    ]


def test_what_does_not_fit_is_told(folder, items):
    (folder / "JPEGImages/00100.jpg").unlink()
    (folder / "train.txt").write_text("0\n2\n7\n8\nx\n2\n")
    (folder / "test.txt").write_text("1\n0\n9\n")
    bad = thing("2nd", (400, 80, 80, 400))
    (folder / "Annotations/00002.xml").write_text(xml("00002", thing("1st"), bad))
    records, skipped = items("dior_rsvg", folder)
    assert [r.id for r in records] == ["0", "2"]
    assert skipped == {
        "no annotation": 3,
        "malformed line": 1,
        "listed twice": 2,
        "inverted box": 1,
        "missing image": 1,
    }
    records, skipped = items("dior_rsvg", folder, split="train")
    assert [r.id for r in records] == ["0", "2"]
    assert skipped == {"no annotation": 2, "malformed line": 1, "listed twice": 1}


def test_an_unreadable_file_would_move_all_later_numbers(folder, read, items):
    (folder / "Annotations/00011.xml").write_text("<annotation>")
    with pytest.raises(SkyEyeError, match="00011.xml: is not valid XML.*the lists count objects through all files"):
        read("dior_rsvg", folder)
    for split in ("train", "val", "test"):
        (folder / f"{split}.txt").unlink()
    records, skipped = items("dior_rsvg", folder)
    assert (len(records), skipped) == (3, {"unreadable file": 1})
