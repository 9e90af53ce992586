import pytest

from skyeye.errors import SkyEyeError


def test_lines(tmp_path, write_images, read):
    write_images(tmp_path, "positive image set/001.jpg", "negative image set/001.jpg", size=(200, 100))
    (tmp_path / "ground truth").mkdir()
    (tmp_path / "ground truth/001.txt").write_text("( 20, 10),( 60,60),3 \r\n(100,10),(180,90),10\r\n\r\n")
    (tmp_path / "readme.txt").write_text("about")
    records, skipped = read("nwpu_vhr10", tmp_path)
    assert not skipped
    assert [(r.references["phrase"], r.turns[0].answer) for r in records if r.task == "refer"] == [
        ("the storage tank", "{<10><10><30><60>}"),
        ("the vehicle", "{<50><10><90><90>}"),
    ]
    assert {r.images[0] for r in records} == {str(tmp_path / "positive image set/001.jpg")}
    assert read("nwpu_vhr10", tmp_path / "ground truth", tmp_path / "positive image set")[0] == records
    assert {r.split for r in read("nwpu_vhr10", tmp_path, splits={"test": "001"})[0]} == {"test"}


def test_what_does_not_fit_is_told(tmp_path, write_images, items):
    write_images(tmp_path, "1.jpg", "3.jpg", size=(200, 100))
    (tmp_path / "1.txt").write_text(
        "(20,10),(60,60),1\n(20,10),(60,60),11\n20,10,60,60,1\n(60,60),(20,10),1\n(1,1),(3,3),2"
    )
    (tmp_path / "2.txt").write_text("(20,10),(60,60),1\n" * 3)
    (tmp_path / "3.txt").write_bytes(b"\xff\xfe\0")
    (tmp_path / "4.txt").write_text("")
    (tmp_path / "5.txt").symlink_to("nowhere")
    records, skipped = items("nwpu_vhr10", tmp_path)
    assert sum(r.task == "identify" for r in records) == 1
    assert skipped == {
        "unknown class": 1,
        "malformed line": 1,
        "inverted box": 1,
        "too small": 1,
        "missing image": 3,
        "unreadable file": 2,
    }


def test_no_files(tmp_path, read):
    (tmp_path / "readme.txt").write_text("about")
    with pytest.raises(SkyEyeError, match="no <number>.txt"):
        read("nwpu_vhr10", tmp_path)
