import json

import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems
from skyeye.data.formats.instructions.skyeye968k import PUBLISHED
from skyeye.data.tasks import TASKS
from skyeye.errors import SkyEyeError


def llava(question, answer, image="a.jpg"):
    return {"image": image, "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]}


def test_published_tree(tmp_path, write_images, read):
    images = tmp_path / "images"
    write_images(images, "Images_LR/1.png", "UCMerced/1.tif", "RSICD_images/airport_1.jpg")
    files = {
        "vqa/RSVQALR_train.json": [llava("<image>\nis it rural?", "yes", "1"), llava("is it urban?", "no", "1.tif")],
        "caption/caption_UCM_train.json": [llava("describe", "a field", "UCMerced/1.tif")],
        "caption/caption_RSICD_train.json": [llava("describe", "an airport", "airport_1.jpg"), llava("x", "y", "no")],
        "mine/boats_test.json": [llava("[vqa] how many?", "2", "UCMerced/1")],
    }
    for name, items in files.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(json.dumps(items))
    records, skipped = read("skyeye968k", tmp_path / "tree", images)
    assert skipped == {"missing image": 1}
    assert {(r.source, r.task, r.split, r.images[0].removeprefix(f"{images}/")) for r in records} == {
        ("RSVQA-LR", "vqa", "train", "Images_LR/1.png"),  # its own image 1, not that of UCM
        ("UCM-Captions", "caption", "train", "UCMerced/1.tif"),
        ("RSICD", "caption", "train", "RSICD_images/airport_1.jpg"),
        ("boats_test", "vqa", "test", "UCMerced/1.tif"),
    }
    assert len({(r.source, r.id) for r in records}) == len(records) == 5
    assert [r.source for r in read("skyeye968k", tmp_path / "tree", images, split="test")[0]] == ["boats_test"]


def test_every_published_file_is_known():
    assert len(PUBLISHED) == 19  # files named in the release
    assert {entry.task for entry in PUBLISHED.values()} <= set(TASKS)


def test_frames_of_a_sequence_must_all_be_there(tmp_path, write_images, read):
    write_images(tmp_path, "f1.jpg")
    items = [llava("[caption] go", "a", ["f1.jpg", "f2.jpg"]), llava("[vqa] a", "b", "f1")]
    (tmp_path / "x.json").write_text(json.dumps(items))
    records, skipped = read("llava", tmp_path / "x.json")
    assert (len(records), skipped) == (1, {"missing image": 1})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty (0 bytes)"),
        ('[{"image": "a.jpg", ', "is not valid JSON: Expecting property name"),
        ('{"image": "a.jpg"}', "holds a JSON object where a list"),
        ("3", "holds a JSON number where a list"),
    ],
)
def test_broken_file(tmp_path, read, content, words):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(SkyEyeError) as error:
        read("skyeye968k", tmp_path / "x.json")
    assert words in str(error.value) and "x.json" in str(error.value)


def test_unknown_task_option(tmp_path, read):
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(SkyEyeError, match="unknown task 'captoin'.*did you mean 'caption'"):
        read("skyeye968k", tmp_path / "x.json", task="captoin")


def test_names_of_files_and_folders_in_other_spellings(tmp_path, write_images, read):
    write_images(tmp_path, "a.jpg")
    tree = {"vqa/ERAvqa.json": "ERA-VQA", "vqa/rsvqa-hr train.json": "RSVQA-HR", "Visual_Grounding/mine.json": "mine"}
    for name in tree:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps([llava("is it?", "{<1><2><3><4>}")]))
    records, _ = read("skyeye968k", tmp_path)
    assert {(r.source, r.task) for r in records} == {("ERA-VQA", "vqa"), ("RSVQA-HR", "vqa"), ("mine", "refer")}


def test_fields_that_nothing_reads_are_told_once_and_cost_nothing(tmp_path, write_images):
    write_images(tmp_path, "a.jpg")
    items = [{**llava("[vqa] a", "b"), "id": 3, "weight": n, "note": ""} for n in range(3)] + [llava("[vqa] a", "b")]
    items[1].pop("note")
    (tmp_path / "x.json").write_text(json.dumps(items))
    records, problems = read_with_problems(SourceConfig("skyeye968k", str(tmp_path / "x.json")), "mine")
    assert len(records) == 4
    assert [(p.kind, p.what, p.by_rule, p.count) for p in problems] == [
        ("unknown field", "2 records have a field 'note'", True, 0),
        ("unknown field", "3 records have a field 'weight'", True, 0),
    ]
