"""What is wrong with the input is said in one line on the terminal, and nothing half-written stays behind."""

from __future__ import annotations

import json
import shutil

import pytest

from skyeye.cli import main


@pytest.fixture
def broken_world(world, tmp_path):
    """A copy of the synthetic scenes, to be broken."""
    return shutil.copytree(world, tmp_path / "broken")


def _told(capsys, *command) -> str:
    """What a command ends with: one line, or for a recipe one line per mistake below it."""
    assert main([str(word) for word in command]) == 2
    lines = capsys.readouterr().err.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith("error:")]
    assert not any("Traceback" in line for line in lines)
    return "\n".join(lines[start:])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_named_when_its_turn_comes(recipe, broken_world, tmp_path, capsys, workers):
    for image in (broken_world / "images").iterdir():
        image.write_bytes(image.read_bytes()[:200])
    sources = {"world": {"format": "synthetic", "path": str(broken_world)}}
    line = _told(capsys, "train", recipe(sources=sources), f"run.workers={workers}")
    assert "broken/images/" in line and "\n" not in line
    assert not (tmp_path / "run" / "checkpoints").exists() and not list(tmp_path.rglob("*.partial"))


def test_images_that_are_all_missing(recipe, broken_world, capsys):
    sources = {"world": {"format": "synthetic", "path": str(broken_world), "images": str(broken_world / "vqa")}}
    assert "images:" in _told(capsys, "train", recipe(sources=sources))


def test_an_annotation_file_of_no_bytes(recipe, broken_world, capsys):
    (broken_world / "vqa" / "scenes_train.json").write_bytes(b"")
    sources = {"world": {"format": "synthetic", "path": str(broken_world)}}
    assert "vqa/scenes_train.json" in _told(capsys, "train", recipe(sources=sources))


def test_records_without_answer_with_a_box_outside_or_with_an_unknown_tag_are_listed(recipe, broken_world, tmp_path):
    file = broken_world / "vg" / "scenes_train.json"
    items = json.loads(file.read_text())
    first, second, third = [item for item in items if item["task"] == "refer"][:3]
    first["conversations"][1]["value"] = ""
    second["conversations"][1]["value"] = "{<10><20><140><70>}"
    third["conversations"][0]["value"] = "<image>\n[rfer] where is it"
    numbers = [items.index(item) for item in (first, second, third)]
    file.write_text(json.dumps(items))
    sources = {"world": {"format": "synthetic", "path": str(broken_world)}}
    assert main(["train", str(recipe(sources=sources))]) == 0
    listed = (tmp_path / "run" / "skipped.txt").read_text().splitlines()
    assert len(listed) == 3
    for number in numbers:
        assert sum(f"{file}, record {number}" in line for line in listed) == 1


def test_an_unknown_key_of_the_recipe(recipe, capsys):
    line = _told(capsys, "train", recipe(), "stages.0.stepz=3")
    assert "stepz" in line and "did you mean 'steps'" in line


def test_a_folder_that_is_no_checkpoint(world, tmp_path, capsys):
    for command in (("eval", tmp_path, "--data-root", world), ("chat", tmp_path, "--image", world / "images")):
        assert "error:" in _told(capsys, *command)
