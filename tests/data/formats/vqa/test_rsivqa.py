import pytest

from skyeye.data.formats.vqa.rsivqa import question_type

LINES = """P0003: how many ships are there in this picture?15
P0003: does this picture contain plane?no

1.tif:What is the theme of this picture?farmland
P0004: is it: big? or small?big
P0003: how many planes?
no question here
P0005: how many?3
"""


@pytest.fixture
def folder(tmp_path, write_images):
    write_images(tmp_path, "images/P0003.png", "images/P0004.png", "images/1.tif")
    (tmp_path / "dota_val_vqa2.txt").write_text(LINES)
    (tmp_path / "sydney_vqa.txt").write_text("1.tif:what is the theme of this picture?residential\n")
    (tmp_path / "README.txt").write_text("about")
    return tmp_path


def test_lines(folder, read):
    records, skipped = read("rsivqa", folder / "dota_val_vqa2.txt")
    assert [(r.turns[0].question, r.turns[0].answer, r.references["type"]) for r in records] == [
        ("[vqa] how many ships are there in this picture?", "15", "count"),
        ("[vqa] does this picture contain plane?", "no", "presence"),
        ("[vqa] What is the theme of this picture?", "farmland", "theme"),
        ("[vqa] is it: big? or small?", "big", "presence"),
    ]
    assert {r.split for r in records} == {"val"}
    assert records[0].images[0].endswith("images/P0003.png")
    assert records[2].where.endswith("dota_val_vqa2.txt, line 4")
    assert skipped == {"no answer": 1, "not a record": 1, "missing image": 1}


def test_folder(folder, read):
    assert [r.split for r in read("rsivqa", folder)[0]] == ["val"] * 4 + ["train"]
    assert [r.id for r in read("rsivqa", folder, split="train")[0]] == ["sydney_vqa:1"]
    assert {r.id for r in read("rsivqa", folder, split="test", splits={"test": "1.*"})[0]} == {"sydney_vqa:1"}


def test_both_published_names_are_read_from_a_folder(folder, read):
    (folder / "ucm_res.txt").write_text("1.tif:How many trees?one\n")
    assert [r.id for r in read("rsivqa", folder, split="train")[0]] == ["sydney_vqa:1", "ucm_res:1"]


def test_other_questions():
    assert question_type("What colour is the roof?") == "other"
