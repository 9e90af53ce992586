import pytest

from skyeye.errors import SkyEyeError


@pytest.fixture
def frames(tmp_path, write_images):
    write_images(tmp_path, "a1.jpg", "b1.jpg", "c1.jpg")
    (tmp_path / "aerial.names").write_text("car\nbus\n")
    (tmp_path / "a1.txt").write_text("0 0.5 0.5 0.2 0.4\n1 0.9 0.9 0.1 0.1\n")
    (tmp_path / "b1.txt").write_text("")
    (tmp_path / "c1.txt").write_text("1 0.25 0.25 0.5 0.5\n")
    return tmp_path


def test_centre_and_size_become_corners(frames, read):
    records, skipped = read("yolo", frames)
    assert not skipped
    refer = [(r.references["phrase"], r.turns[0].answer) for r in records if r.task == "refer"]
    assert refer == [
        ("the car", "{<40><30><60><70>}"),
        ("the bus", "{<85><85><95><95>}"),
        ("the bus", "{<0><0><50><50>}"),
    ]
    assert records[0].id == "a1:refer:0.0" and records[0].images[0].endswith("a1.jpg")


def test_splits_keep_a_video_together(frames, read):
    records, _ = read("yolo", frames, splits={"test": ["c*"]})
    assert {(r.images[0][-6:], r.split) for r in records} == {("a1.jpg", "train"), ("c1.jpg", "test")}
    assert {r.images[0][-6:] for r in read("yolo", frames, split="test", splits={"test": ["c*"]})[0]} == {"c1.jpg"}


def test_oriented_boxes_and_folders(tmp_path, write_images, read):
    write_images(tmp_path, "images/val/P1.png", "images/train/P1.png")
    (tmp_path / "labels/val").mkdir(parents=True)
    (tmp_path / "labels/val/P1.txt").write_text("0 0.3 0.1 0.5 0.3 0.3 0.5 0.1 0.3\n")  # a diamond
    (tmp_path / "data.yaml").write_text("names:\n  0: ground-track_field\n")
    (record, *_), _ = read("yolo", tmp_path)
    assert record.turns[0].answer == "{<10><10><50><50>}"
    assert record.references["polygons"] == [[0.3, 0.1, 0.5, 0.3, 0.3, 0.5, 0.1, 0.3]]
    assert (record.references["phrase"], record.split) == ("the ground track field", "val")
    assert record.images[0].endswith("images/val/P1.png")


def test_what_does_not_fit_is_told(frames, read):
    lines = ["0 0.5 0.5 0.2", "7 0.5 0.5 0.2 0.2", "car 0.5 0.5 0.2 0.2", "0 0.5 0.5 -0.2 0.2"]
    lines += ["0 1.5 0.5 0.2 0.2", "0 nan 0 1 1"]
    (frames / "a1.txt").write_text("\n".join(lines))
    (frames / "d1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    for name in ("b1", "c1"):
        (frames / f"{name}.txt").write_text("1 0.25 0.25 0.5 0.5\n")
    records, skipped = read("yolo", frames)
    assert len(records) == 6
    assert skipped == {
        "malformed line": 2,
        "unknown class": 1,
        "inverted box": 2,
        "box outside the image": 1,
        "missing image": 1,
    }


def test_classes_must_be_known(frames, read):
    assert read("yolo", frames, names=["lorry", "tram"])[0][0].references["phrase"] == "the lorry"
    assert read("yolo", frames, names=str(frames / "aerial.names"))[0][0].references["phrase"] == "the car"
    for names in ("", []):
        with pytest.raises(SkyEyeError):
            read("yolo", frames, names=names)
    (frames / "classes.txt").write_text("x")
    with pytest.raises(SkyEyeError, match="2 files could name the classes .give options.names"):
        read("yolo", frames)


def test_a_folder_without_labels(tmp_path, read):
    with pytest.raises(SkyEyeError, match="no label file"):
        read("yolo", tmp_path, names=["car"])


@pytest.mark.parametrize("content", [b"\n", b" \r\n\r\n", b"\xef\xbb\xbf"])
def test_label_files_of_blanks_are_pictures_without_objects(frames, read, content):
    (frames / "b1.txt").write_bytes(content)
    records, skipped = read("yolo", frames)
    assert not skipped and {r.images[0][-6:] for r in records} == {"a1.jpg", "c1.jpg"}


def test_one_label_file_that_cannot_be_read_is_one_problem(frames, write_images, items):
    (frames / "b1.txt").write_bytes(b"0 0.5 0.5 0.2 0.4 M\xfchle\n")
    write_images(frames, "d1.jpg", "e1.jpg")
    (frames / "d1.txt").mkdir()
    (frames / "e1.txt").symlink_to(frames / "nowhere")
    records, skipped = items("yolo", frames)
    assert {r.images[0][-6:] for r in records} == {"a1.jpg", "c1.jpg"} and skipped == {"unreadable file": 3}
