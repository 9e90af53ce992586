import json

import pytest

from skyeye.data.formats.scenes.class_folders import class_words
from skyeye.errors import SkyEyeError


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("StorageTanks", "Storage Tanks"),
        ("Pond", "Pond"),
        ("baseball_diamond", "baseball diamond"),
        ("mobilehomepark", "mobilehomepark"),  # UCMerced writes it so; where the words end cannot be known
        ("sea-ice", "sea ice"),
        ("HerbaceousVegetation", "Herbaceous Vegetation"),
        ("RSScene", "RS Scene"),
    ],
)
def test_class_words(folder, words):
    assert class_words(folder) == words


def test_question_and_answer(tmp_path, write_images, read):
    write_images(tmp_path, "StorageTanks/st_1.jpg", "Pond/p_1.jpg", "Pond/deeper/p_2.jpg")
    records, skipped = read("class_folders", tmp_path)
    assert not skipped
    assert {r.turns[0].question for r in records} == {
        "[vqa] Classify the image within one of the given classes: Pond, Storage Tanks. "
        "Answer it using the above category word or phrase."
    }
    assert {(r.id, r.turns[0].answer) for r in records} == {
        ("StorageTanks/st_1.jpg", "Storage Tanks"),
        ("Pond/p_1.jpg", "Pond"),
        ("Pond/deeper/p_2.jpg", "Pond"),
    }
    assert {(r.task, r.source, r.split) for r in records} == {("classification", "mine", "train")}
    assert records[0].references == {"answer": "Pond", "classes": ["Pond", "Storage Tanks"]}


def test_split_folders_and_a_question_without_the_list(tmp_path, write_images, read):
    write_images(tmp_path, "train/Pond/1.jpg", "test/Pond/2.jpg", "valid/Road/3.jpg")
    records, _ = read("class_folders", tmp_path, question="What scene is this?")
    assert [(r.split, r.turns[0].question, r.turns[0].answer) for r in records] == [
        ("test", "[vqa] What scene is this?", "Pond"),
        ("train", "[vqa] What scene is this?", "Pond"),
        ("val", "[vqa] What scene is this?", "Road"),
    ]
    assert records[0].references["classes"] == ["Pond", "Road"]


def test_split_of_the_captions_is_followed(tmp_path, write_images, read):
    write_images(tmp_path / "images", "Pond/p_1.jpg", "Pond/p_2.jpg", "Pond/p_3.jpg", "loose.jpg")
    listed = [{"filename": "p_1.jpg", "split": "test"}, {"filename": "p_2.tif", "split": "restval"}]
    (tmp_path / "captions.json").write_text(json.dumps({"images": listed}))
    options = {"split_file": str(tmp_path / "captions.json")}
    records, skipped = read("class_folders", tmp_path / "images", **options)
    assert [(r.id, r.split) for r in records] == [("Pond/p_1.jpg", "test"), ("Pond/p_2.jpg", "train")]
    assert skipped == {"no split": 1, "no answer": 1}
    assert [r.id for r in read("class_folders", tmp_path / "images", split="test", **options)[0]] == ["Pond/p_1.jpg"]


def test_images_without_class_folders(tmp_path, write_images, read):
    write_images(tmp_path, "1.jpg")
    with pytest.raises(SkyEyeError, match="no class folder .expected"):
        read("class_folders", tmp_path)


@pytest.mark.parametrize("around", ["UCMerced_LandUse/Images", "EuroSAT/2750", "WHU-RS19", "."])
def test_folders_around_the_classes_are_no_classes(tmp_path, write_images, read, around):
    write_images(tmp_path, f"{around}/Pond/1.jpg", f"{around}/Road/2.jpg")
    records, _ = read("class_folders", tmp_path)
    assert [r.turns[0].answer for r in records] == ["Pond", "Road"]
    assert [r.id for r in records] == ["Pond/1.jpg", "Road/2.jpg"]  # the same wherever the folder begins
    write_images(tmp_path, "deep/test/Pond/1.jpg", "deep/test/Road/2.jpg", "one/Pond/1.jpg")
    assert [r.split for r in read("class_folders", tmp_path / "deep")[0]] == ["test", "test"]
    assert [r.turns[0].answer for r in read("class_folders", tmp_path / "one")[0]] == ["Pond"]
