from __future__ import annotations

import pytest

from skyeye.eval.report import galleries
from skyeye.eval.report.galleries import GALLERY, MOST_PICTURES, Pictures


@pytest.fixture
def graded(made):
    return [made.row(f"{n}", "", [[0, 0, 1, 1]], n > 50, iou=n / 100) for n in range(101)]


def test_best_and_worst_by_overlap(graded):
    found = dict(galleries.chosen(graded, "x"))
    assert [row["iou"] for row in found["Best answers"]] == [n / 100 for n in range(100, 100 - GALLERY, -1)]
    assert [row["iou"] for row in found["Worst answers"]] == [n / 100 for n in range(GALLERY)]
    random = [row["id"] for row in found["Random answers"]]
    assert len(set(random)) == GALLERY and random == [
        r["id"] for r in dict(galleries.chosen(graded, "x"))["Random answers"]
    ]
    assert random != [row["id"] for row in dict(galleries.chosen(graded, "y"))["Random answers"]]


def test_best_and_worst_share_no_answer(graded):
    found = dict(galleries.chosen(graded[:5], "x"))
    assert [row["id"] for row in found["Best answers"]] == ["4", "3"]
    assert [row["id"] for row in found["Worst answers"]] == ["0", "1"]
    assert len(found["Random answers"]) == 5
    assert list(dict(galleries.chosen(graded[:1], "x"))) == ["Random answers"] and galleries.chosen([], "x") == []


def test_right_and_wrong_take_one_of_each_kind_first(made):
    rows = [made.row(f"p{n}", "yes", "yes", True, type="presence") for n in range(200)]
    rows += [made.row(f"c{n}", "3", "3", True, type="count") for n in range(3)]
    rows += [made.row("w", "no", "yes", False, type="presence")]
    found = dict(galleries.chosen(rows, "x"))
    assert sorted(row["type"] for row in found["Right answers"]) == ["count"] * 3 + ["presence"] * (GALLERY - 3)
    assert [row["id"] for row in found["Wrong answers"]] == ["w"]


def test_quality_by_family(made):
    quality = galleries.quality
    assert quality(made.row("", "", "t", True)) == 1 and quality(made.row("", "", "t", None)) is None
    assert quality(made.row("", "", ["t"], True, cider=12.5)) == 12.5
    # two of three pairs with four boxes named: 2 * 2 / (4 + 3)
    grounding = made.row("", "", [[0, 0, 1, 1]] * 3, False, pairs=2, found=4)
    assert quality(grounding) == pytest.approx(4 / 7)
    assert galleries.measure(grounding) == "2 of 3 boxes found, 4 named"
    assert galleries.kind(made.row("", "", "Port", True, named=["Port"])) == "Port"
    assert galleries.kind(made.row("", "", "yes", True, type="presence")) == "presence"
    assert galleries.kind(made.row("", "", ["a caption"], None, cider=1)) == ""


def test_boxes_of_truth_answer_and_question(made, picture):
    row = made.row("i", "{<10><10><50><60>}", [[0.1, 0.2, 0.5, 1.6]], True, [picture], "[x] {<0><0><20><20>}", iou=0.5)
    other = row | {"answer": "here: {<1><1><2><2>}", "correct": False}
    drawn = galleries.example("e", row, [("A", row), ("B", other)], Pictures(), [("shuffled images", "not shown")])
    assert [(o.kind, o.points) for o in drawn.outlines] == [
        ("truth", "10.0,20.0 50.0,20.0 50.0,100.0 10.0,100.0"),
        ("answer", "10.0,10.0 50.0,10.0 50.0,60.0 10.0,60.0"),
        ("answer2", "1.0,1.0 2.0,1.0 2.0,2.0 1.0,2.0"),
        ("asked", "0.0,0.0 20.0,0.0 20.0,20.0 0.0,20.0"),
    ]
    assert drawn.answers == [("A", "{<10><10><50><60>}", True), ("B", "here: {<1><1><2><2>}", False)]
    assert drawn.truth == [] and drawn.others == [] and drawn.note == "IoU 0.50 | IoU 0.50"
    assert len(drawn.pictures) == 1 and drawn.pictures[0].startswith("data:image/jpeg;base64,")


def test_turned_boxes(made, picture):
    corners = [0.1, 0.2, 0.3, 0.1, 0.5, 0.5, 0.2, 0.6]
    row = made.row("i", "", [[0.1, 0.1, 0.5, 0.6], [0.0, 0.0, 0.1, 0.1]], True, polygons=[corners, None], iou=0.5)
    assert galleries.true_corners(row) == [corners, [0.0, 0.0, 0.1, 0.1]]
    # one polygon for two boxes: which belongs to which is not said, so all are drawn
    assert galleries.true_corners(row | {"polygons": [corners]}) == [
        [0.1, 0.1, 0.5, 0.6],
        [0.0, 0.0, 0.1, 0.1],
        corners,
    ]
    # a square of 300 x 300 pixels turned by 90 degrees in a picture of 600 x 300 stays what it was
    turned = made.row("i", "{<25><0><75><100>|<90>}", [[0, 0, 1, 1]], True, [picture], iou=0.5)
    [_, answer] = galleries.example("e", turned, [("", turned)], Pictures()).outlines
    points = sorted(tuple(float(v) for v in point.split(",")) for point in answer.points.split())
    assert points == [pytest.approx(p, abs=0.1) for p in [(25, 0), (25, 100), (75, 0), (75, 100)]]


def test_pictures_that_are_missing_are_said(made, picture, tmp_path):
    def missing(*images):
        row = made.row("i", "a", "t", True, images)
        return galleries.example("e", row, [("", row)], Pictures())

    assert missing("absent:P0001.png").missing == "the image P0001.png is not here"
    assert str(tmp_path / "gone.png") in missing(str(tmp_path / "gone.png")).missing
    assert missing("a\0b.png").missing and missing("\ud800.png").missing and missing().missing
    (tmp_path / "text.png").write_text("no image")
    assert missing(str(tmp_path / "text.png")).missing
    some = missing(picture, str(tmp_path / "gone.png"), picture, picture, picture)
    assert len(some.pictures) == 1 and some.missing and some.further == 3


def test_a_benchmark_has_so_many_pictures_and_each_is_read_once(monkeypatch):
    read = []
    monkeypatch.setattr(galleries, "thumbnail", lambda reference, side: read.append(reference) or f"data:{reference}")
    pictures = Pictures()
    found = [pictures.of([f"{n % 40}"]) for n in range(MOST_PICTURES + 5)]
    assert sum(bool(urls) for urls, _ in found) == MOST_PICTURES and len(read) == 40
    assert found[0] == (["data:0"], "") and found[-1] == ([], "the page holds 60 pictures of a benchmark")


def test_searchable_rows(made):
    rows = [
        made.row("a", "x" * 5000, "t", True, type="count"),
        made.row("b", "", ["one", "two"], None, cider=3.4),
        made.row("c", "z", [[0.1, 0.2, 0.3, 0.4]], False, iou=0.25),
    ]
    found = galleries.searchable(rows, {"b": "b1e1"}, "x")
    assert found["all"] == 3 and found["fields"] == ["asked", "answer", "truth"]
    assert found["rows"] == [
        ["a", "count", "right", "", "", "[x] q", "x" * 600 + " …", "t"],
        ["b", "", "not judged", "CIDEr 3", "b1e1", "[x] q", "", "one / two"],
        ["c", "", "wrong", "IoU 0.25", "", "[x] q", "z", "{<10><20><30><40>}"],
    ]


def test_of_many_rows_the_pictured_ones_are_kept(made):
    rows = [made.row(f"{n}", "", "t", True) for n in range(5000)]
    shown = {f"{n}": "e" for n in range(0, 5000, 500)}
    found = galleries.searchable(rows, shown, "x")
    ids = [int(row[0]) for row in found["rows"]]
    assert len(ids) == 2000 and found["all"] == 5000 and ids == sorted(ids)
    assert {int(id) for id in shown} <= set(ids) and max(ids) > 4900
