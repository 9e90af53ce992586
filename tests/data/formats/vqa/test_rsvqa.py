import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.formats.vqa.rsvqa import number_range
from skyeye.errors import SkyEyeError

QUESTIONS = [
    ("presence", "Is a road present?", 0, "yes"),
    ("comp", "Are there more roads than buildings?", 0, "no"),
    ("rural_urban", "Is it a rural or an urban area", 1, "rural"),
    ("count", "How many roads are there?", 1, "37"),
    ("area", "What is the area covered by roads?", 1, "407m2"),
]


def write_set(folder, prefix="LR", split="train", inactive=1, change=None):
    """The published layout: the entries of another split come first, as inactive ids."""
    off = [{"id": i, "active": False} for i in range(inactive)]
    questions = [
        {"id": i, "active": True, "type": t, "question": q, "img_id": image, "answers_ids": [100 + i]}
        for i, (t, q, image, _) in enumerate(QUESTIONS, start=inactive)
    ]
    answers = [
        {"id": 100 + i, "active": True, "question_id": i, "answer": a}
        for i, (_, _, _, a) in enumerate(QUESTIONS, start=inactive)
    ]
    images = [{"id": i, "active": True, "original_name": f"{900 + i}.png"} for i in (0, 1)]
    content = {"questions": off + questions, "answers": off + answers, "images": off[:0] + images}
    if change:
        change(content)
    for what, entries in content.items():
        (folder / f"{prefix}_split_{split}_{what}.json").write_text(json.dumps({what: entries}))


@pytest.fixture
def folder(tmp_path, write_images):
    write_images(tmp_path, "Images/0.png", "Images/1.png", "Images/900.png")
    return tmp_path


def test_three_files_are_joined_by_id(folder, read):
    write_set(folder)
    records, skipped = read("rsvqa", folder)
    assert not skipped
    assert [(r.turns[0].question, r.turns[0].answer, r.references["type"]) for r in records] == [
        ("[vqa] Is a road present?", "yes", "presence"),
        ("[vqa] Are there more roads than buildings?", "no", "comparison"),
        ("[vqa] Is it a rural or an urban area", "rural", "rural_urban"),
        ("[vqa] How many roads are there?", "37", "count"),
        ("[vqa] What is the area covered by roads?", "407m2", "area"),
    ]
    assert [r.images[0].rsplit("/", 1)[1] for r in records] == ["0.png", "0.png", "1.png", "1.png", "1.png"]
    assert {(r.source, r.task, r.split) for r in records} == {("RSVQA-LR", "vqa", "train")}


def test_splits_and_the_second_test_set(folder, read):
    for split in ("train", "test", "test_phili"):
        write_set(folder, "USGS", split)
    assert {r.id.split(":")[0] for r in read("rsvqa", folder, split="test")[0]} == {"test"}
    second, _ = read("rsvqa", folder, split="test_phili")
    assert {(r.split, r.source) for r in second} == {("test", "RSVQA-HR")}
    everything, _ = read("rsvqa", folder)
    assert len({r.id for r in everything}) == len(everything) == 15


def test_the_id_of_the_question_is_kept_for_evaluation(folder, read):
    for split in ("train", "test", "test_phili"):
        write_set(folder, "USGS", split)
    records, _ = read("rsvqa", folder)
    for record in records:
        assert record.references.get("published_id") == (None if record.split == "train" else record.id.split(":")[1])


def test_types_and_ranges(folder, read):
    write_set(folder)
    records, skipped = read("rsvqa", folder, types=["count", "area"], bin_numbers=True)
    assert [r.references["answer"] for r in records] == ["between 11 and 100", "between 101m2 and 1000m2"]
    assert skipped == {"type not asked for": 3}
    with pytest.raises(SkyEyeError, match="unknown question type 'cuont' .*did you mean 'count'"):
        read("rsvqa", folder, types=["cuont"])


def test_what_does_not_fit_is_told(folder, read):
    def change(content):
        q = content["questions"]
        q += [{**q[1], "id": 50}, {**q[1], "id": 51}]  # enough sound ones
        q += [{**q[1], "answers_ids": ids} for ids in ([], None, [999])]
        q += [{**q[1], "question": " "}, "text", {**q[1], "img_id": 7}, {**q[1], "img_id": [1]}]
        content["answers"].append({"id": 999, "active": False})

    write_set(folder, change=change)
    records, skipped = read("rsvqa", folder)
    assert len(records) == 7
    assert skipped == {"no answer": 3, "no question": 1, "not a record": 1, "missing image": 2}


def test_missing_image_file(folder, read):
    write_set(folder)
    (folder / "Images/1.png").unlink()
    records, skipped = read("rsvqa", folder)
    assert (len(records), skipped) == (2, {"missing image": 3})


def test_one_of_the_three_files_missing(folder, read):
    write_set(folder)
    (folder / "LR_split_train_answers.json").unlink()
    with pytest.raises(SkyEyeError, match="LR_split_train_answers.json: cannot be read: No such file"):
        read("rsvqa", folder)


def test_not_an_rsvqa_folder(tmp_path, read):
    with pytest.raises(SkyEyeError, match="no <set>_split_<split>_questions.json"):
        read("rsvqa", tmp_path)


@given(st.integers(0, 10**6), st.sampled_from(["", "m2"]))
def test_number_range_holds_the_number(number, unit):
    words = number_range(f"{number}{unit}").split(" ")
    if number == 0:
        assert words == [f"0{unit}"]
    elif number > 1000:
        assert words == ["more", "than", f"1000{unit}"]
    else:
        low, high = (int(word.removesuffix("m2")) for word in words[1::2])
        assert low <= number <= high and words[1].endswith(unit)


def test_other_answers_stay():
    assert number_range("yes") == "yes"
