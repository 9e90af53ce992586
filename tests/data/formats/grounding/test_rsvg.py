from dataclasses import replace

import pytest
import torch

from skyeye.data.geometry.box_text import SKYEYE
from skyeye.data.prompts import MiniGPTv2
from skyeye.errors import SkyEyeError


def test_lines(tmp_path, write_images, read, items):
    write_images(tmp_path, "images/a.jpg", size=(200, 100))
    (tmp_path / "rsvg_train.txt").write_text("a.jpg,20,10,100,60.5,find a pool, left of the road\n")
    (tmp_path / "rsvg_val.txt").write_text("a.jpg,0,0,200,100,Search The big field .\n")
    (tmp_path / "rsvg_test.txt").write_text("\na.jpg,190,50,210,100,SAR image of a ship\n")
    records, skipped = read("rsvg", tmp_path)
    assert not skipped
    assert [(r.id, r.split, r.references["phrase"], r.turns[0].answer) for r in records] == [
        ("rsvg_test:2", "test", "SAR image of a ship", "{<95><50><100><100>}"),
        ("rsvg_train:1", "train", "a pool, left of the road", "{<10><10><50><60>}"),
        ("rsvg_val:1", "val", "the big field", "{<0><0><100><100>}"),
    ]
    assert records[0].turns[0].question == "[refer] where can I locate SAR image of a ship?"
    assert records[1].references["boxes"] == [[0.1, 0.1, 0.5, 0.605]]
    assert records[1].references["size"] == [200, 100]
    assert [r.split for r in read("rsvg", tmp_path, split="val")[0]] == ["val"]
    (record,), _ = items("rsvg", tmp_path / "rsvg_test.txt", tmp_path)
    unclipped = MiniGPTv2(replace(SKYEYE, clip=False))
    assert unclipped.answer(record.turns[0]) == "{<95><50><105><100>}"


def test_what_does_not_fit_is_told(tmp_path, write_images, items):
    write_images(tmp_path, "a.jpg", size=(100, 100))
    (tmp_path / "broken.png").write_bytes(b"no image")
    lines = """a.jpg,1,2,30,40,a ship
z.jpg,1,2,30,40,a ship
broken.png,1,2,30,40,a ship
a.jpg,1,2,216,00,803.21,a decimal comma moved the numbers
a.jpg,1,2,x,40,a ship
a.jpg,1,2,30,40
a.jpg,30,2,1,40,a ship
a.jpg,1,2,1,40,a ship
a.jpg,90,90,150,150,a ship
a.jpg,1,2,30,40,.
../a.jpg,1,2,30,40,a ship
"""
    (tmp_path / "x.txt").write_text(lines)
    records, skipped = items("rsvg", tmp_path / "x.txt")
    assert [r.id for r in records] == ["x:1"]
    assert skipped == {
        "missing image": 2,
        "unreadable image": 1,
        "malformed line": 3,
        "inverted box": 2,
        "box outside the image": 1,
        "no question": 1,
    }


def test_splits_of_a_file_that_names_none(tmp_path, write_images, read):
    write_images(tmp_path, "a.jpg", "b.jpg", size=(100, 100))
    (tmp_path / "x.txt").write_text("a.jpg,1,2,30,40,a ship\nb.jpg,1,2,30,40,a ship\n")
    assert [r.split for r in read("rsvg", tmp_path / "x.txt", splits={"test": "b*"})[0]] == ["train", "test"]
    assert [r.id for r in read("rsvg", tmp_path / "x.txt", split="test", splits={"test": "b*"})[0]] == ["x:2"]
    with pytest.raises(SkyEyeError, match="no .*txt or .*pth file with train, val or test in its name"):
        read("rsvg", tmp_path)


BOX = [20, 10, 100.0, 60.5]


def test_saved_lists_of_rsvg(tmp_path, write_images, read):
    write_images(tmp_path, "images/a.jpg", size=(200, 100))
    torch.save([("a.jpg", BOX, "The pool left of the road.", ["NN"], 1)], tmp_path / "rsvg_test.pth")
    torch.save([["a.jpg", [0, 0, 200, 100], "find a field"]], tmp_path / "rsvg_val.pth")
    records, skipped = read("rsvg", tmp_path)
    assert not skipped
    assert [(r.id, r.split, r.references["phrase"], r.turns[0].answer) for r in records] == [
        ("rsvg_test:1", "test", "the pool left of the road", "{<10><10><50><60>}"),
        ("rsvg_val:1", "val", "a field", "{<0><0><100><100>}"),
    ]
    (tmp_path / "rsvg_test.txt").write_text("a.jpg,20,10,100,60.5,a pool\n")  # one's own lines come first
    assert [r.references["phrase"] for r in read("rsvg", tmp_path, split="test")[0]] == ["a pool"]


def test_odd_entries_of_a_saved_list_are_told(tmp_path, write_images, items):
    write_images(tmp_path, "a.jpg", size=(200, 100))
    odd = [3, (), ("a.jpg", BOX), ("a.jpg", BOX[:3], "x"), (b"a.jpg", BOX, "x"), ("a.jpg", "1234", None)]
    odd += [("a.jpg", [1, 2, float("nan"), 4], "x"), {"image": "a.jpg"}, ("a.jpg", ["a"] * 4, "x"), ("a.jpg", 7, "x")]
    torch.save([*odd, ("b.jpg", BOX, "x"), ("a.jpg", BOX, "x"), ("a.jpg", [9, 9, 3, 3], "x")], tmp_path / "test.pth")
    records, skipped = items("rsvg", tmp_path / "test.pth")
    assert [r.id for r in records] == ["test:12"]
    assert skipped == {"not a record": len(odd), "missing image": 1, "inverted box": 1}


class Code:
    def __reduce__(self):
        return (exec, ("raise KeyboardInterrupt",))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (Code(), "cannot be opened as plain values"),
        ([Code()], "cannot be opened as plain values"),
        ({"a": 1}, "holds a dict where a list is expected"),
        (b"no saved list", "cannot be opened as plain values"),
        (b"", "cannot be opened as plain values"),
    ],
)
def test_saved_lists_that_are_not_opened(tmp_path, read, content, error):
    path = tmp_path / "rsvg_test.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(SkyEyeError, match=f"rsvg_test.pth: {error}"):
        read("rsvg", path)


def test_fractions_where_pixels_are_expected(tmp_path, write_images, items):
    write_images(tmp_path, "a.jpg", size=(200, 100))
    (tmp_path / "x.txt").write_text("a.jpg,0.1,0.2,0.5,0.6,a ship\na.jpg,10,10,10.4,12,a pole\n")
    records, skipped = items("rsvg", tmp_path / "x.txt")
    assert [r.id for r in records] == ["x:2"] and skipped == {"malformed box": 1}
