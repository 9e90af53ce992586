"""The written files, read back as plain JSON and checked against ``regions.jsonl`` by a second reading of the text."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from skyeye.data.geometry.box_text import SKYEYE, read_answer_boxes
from skyeye.data.geometry.boxes import Box
from skyeye.data.prompts import MiniGPTv2
from skyeye.errors import SkyEyeError
from skyeye.synth import write as publish
from skyeye.synth import write_scenes
from skyeye.synth.contact_sheet import contact_sheet
from skyeye.synth.scene import RURAL

IMAGES, HELD_OUT, SEED, SIZE = 40, 16, 3, 112


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "world"
    write_scenes(out, IMAGES, SEED, held_out=HELD_OUT, size=SIZE, processes=1)
    return out


@pytest.fixture(scope="module")
def contents(world: Path) -> dict[str, dict]:
    """Image name -> what ``regions.jsonl`` says is in it."""
    lines = (world / "regions.jsonl").read_text().splitlines()
    return {entry["image"]: entry for entry in map(json.loads, lines)}


def items(world: Path, pattern: str) -> list[dict]:
    return [item for file in sorted(world.glob(pattern)) for item in json.loads(file.read_text())]


def turns(item: dict) -> list[tuple[str, str]]:
    values = [message["value"] for message in item["conversations"]]
    assert [message["from"] for message in item["conversations"]] == ["human", "gpt"] * (len(values) // 2)
    assert values[0].startswith("<image>\n")
    return list(zip([values[0].removeprefix("<image>\n"), *values[2::2]], values[1::2], strict=True))


def count(entry: dict, words: str) -> int:
    """How many objects ``planes``, ``plane`` or ``red plane`` denotes."""
    phrases = [thing["phrase"] for thing in entry["objects"]]
    forms = (words, words.removesuffix("s"))
    return max(sum(f" {phrase}".endswith(f" {form}") for phrase in phrases) for form in forms)


def right_answer(question: str, entry: dict) -> str:
    """The answer to a question, from what the scene holds."""
    if match := re.fullmatch(r"\[vqa\] is there a (.+) \?", question):
        return "yes" if count(entry, match[1]) else "no"
    if match := re.fullmatch(r"\[vqa\] what is the number of (.+) \?", question):
        return str(count(entry, match[1]))
    if match := re.fullmatch(r"\[vqa\] are there more (.+) than (.+) \?", question):
        return "yes" if count(entry, match[1]) > count(entry, match[2]) else "no"
    if question == "[vqa] Is it a rural or an urban area ?":
        return "rural" if entry["ground"] in RURAL else "urban"
    if question.startswith("[vqa]"):
        return entry["ground"]
    if match := re.fullmatch(r"\[refer\] (?:where is the|where can I locate the|the) (.+?)(?: \?)?", question):
        assert count(entry, match[1]) == 1, f"{match[1]} is not one object of {entry}"
        return next(SKYEYE.write(Box(*t["box"])) for t in entry["objects"] if count({"objects": [t]}, match[1]))
    if match := re.fullmatch(r"\[identify\] (?:what object is in this location|this) (\{.*?\})(?: is)?", question):
        return next(f"a {t['phrase']}" for t in entry["objects"] if SKYEYE.write(Box(*t["box"])) == match[1])
    raise AssertionError(f"not understood: {question}")


@pytest.mark.parametrize(
    "pattern", ["vqa/*.json", "vg/*.json", "test/vqa*", "test/refer*", "test/identify*", "test/classification*"]
)
def test_answers_agree_with_the_scene(world: Path, contents: dict, pattern: str) -> None:
    found = items(world, pattern)
    assert len(found) >= HELD_OUT
    for item in found:
        ((question, answer),) = turns(item)
        assert answer == right_answer(question, contents[item["image"]]), item


def test_phrase_grounding_boxes_all_that_the_phrase_denotes(world: Path, contents: dict) -> None:
    for item in items(world, "phrasegrounding/*.json") + items(world, "test/phrase*"):
        ((_, answer),) = turns(item)
        for phrase, boxes in MiniGPTv2().read_phrases(answer):
            words = re.sub(r"^(the|a) ((two|three|four) )?", "", phrase)
            assert len(boxes) == count(contents[item["image"]], words) > 0, item


def test_conversations_are_right_in_every_turn(world: Path, contents: dict) -> None:
    conversations = items(world, "multitask_conversation/*.json")
    assert len(conversations) == IMAGES
    for item in conversations:
        first, *rest = turns(item)
        assert len(rest) == 3 and first[1]
        for question, answer in rest:
            assert answer == right_answer(question, contents[item["image"]]), item


def test_numbers_of_records(world: Path) -> None:
    assert len(items(world, "caption/caption_scenes_train.json")) == 5 * IMAGES
    assert len(items(world, "caption/caption_frames_train.json")) == 5 * (IMAGES // 20)
    captions = items(world, "test/caption_test.json")
    assert len(captions) == HELD_OUT and all(len(set(item["references"]["captions"])) == 5 for item in captions)
    frames = items(world, "test/frames_test.json")
    assert len(frames) == HELD_OUT // 4 and all(len(item["image"]) == 4 for item in frames)
    kinds = Counter(item.get("type") for item in items(world, "vqa/*.json"))
    assert set(kinds) == {"presence", "count", "comparison", "rural_urban", "scene"}
    ids = [item["id"] for item in items(world, "*/*.json")]
    assert len(ids) == len(set(ids))


def test_held_out_references(world: Path, contents: dict) -> None:
    for item in items(world, "test/refer_test.json"):
        entry, references = contents[item["image"]], item["references"]
        assert references["boxes"] == [entry["objects"][references["object"]]["box"]]
        assert item["objects"] == len(entry["objects"])
        assert read_answer_boxes(turns(item)[0][1])
    counts = Counter(i["references"]["answer"] for i in items(world, "test/vqa_test.json") if i["type"] == "count")
    assert len(set(counts.values())) == 1, "a constant answer to the counting questions must not pay"


def test_training_and_held_out_pictures_are_apart(world: Path) -> None:
    def pictures(pattern: str) -> set[str]:
        names = [item["image"] for item in items(world, pattern)]
        return {name for value in names for name in ([value] if isinstance(value, str) else value)}

    train, test = pictures("[!t]*/*.json"), pictures("test/*.json")
    assert train and test and not train & test
    assert {path.name for path in (world / "images").iterdir()} == train | test
    for name in sorted(train | test)[::9]:
        with Image.open(world / "images" / name) as picture:
            assert picture.size == (SIZE, SIZE)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes_whatever_the_number_of_processes(tmp_path: Path) -> None:
    for name, processes in (("one", 1), ("two", 2)):
        write_scenes(tmp_path / name, 90, 5, held_out=8, size=56, processes=processes)
    assert everything(tmp_path / "one") == everything(tmp_path / "two")


def test_another_seed_is_another_world_and_a_larger_one_begins_with_the_smaller(tmp_path: Path, world: Path) -> None:
    write_scenes(tmp_path / "other", 4, SEED + 1, held_out=1, size=SIZE, processes=1)
    write_scenes(tmp_path / "small", 4, SEED, held_out=1, size=SIZE, processes=1)
    for number in range(4):
        name = f"images/scene_{number:06d}.jpg"
        assert (tmp_path / "small" / name).read_bytes() == (world / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (world / name).read_bytes()


def test_a_world_that_is_there_is_left_alone(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_draw_all", lambda *_: pytest.fail("drawn again"))
    again = write_scenes(world, IMAGES, SEED, held_out=HELD_OUT, size=SIZE)
    assert again["existed"] and again["counts"]["test/caption_test.json"] == HELD_OUT


def test_what_is_there_is_not_overwritten(world: Path, tmp_path: Path) -> None:
    with pytest.raises(SkyEyeError, match="holds other synthetic scenes .other images, seed"):
        write_scenes(world, IMAGES + 1, SEED + 1, held_out=HELD_OUT, size=SIZE)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(SkyEyeError, match="holds no synthetic scenes"):
        write_scenes(tmp_path, 4, SEED)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, "_write_annotations", stop)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "world", 2, 1, held_out=1, size=56, processes=1)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_used_and_progress_is_told(tmp_path: Path) -> None:
    out, told = tmp_path / "empty", []
    out.mkdir()
    about = write_scenes(out, 2, 1, held_out=1, size=56, progress=lambda *now: told.append(now), processes=1)
    assert not about["existed"] and (out / "scenes.yaml").is_file()
    assert told[-1] == (11, 11)  # 2 + 1 pictures and 2 sequences of 4 frames


@pytest.mark.parametrize("wrong", [{"images": 0}, {"held_out": 0}, {"seed": -1}, {"size": 10}, {"size": 100_000}])
def test_numbers_that_make_no_sense(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(SkyEyeError, match="cannot draw"):
        write_scenes(**({"out": tmp_path / "w", "images": 2, "seed": 1} | wrong))
    assert not (tmp_path / "w").exists()


def test_contact_sheet(world: Path, tmp_path: Path) -> None:
    contact_sheet(world, tmp_path / "docs" / "sheet.png", n=6, side=50)
    with Image.open(tmp_path / "docs" / "sheet.png") as sheet:
        assert sheet.size == (4 * 54 + 4, 2 * 54 + 4)
    with pytest.raises(SkyEyeError, match="no pictures"):
        contact_sheet(tmp_path, tmp_path / "none.png")
