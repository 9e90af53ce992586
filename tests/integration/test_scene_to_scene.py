"""The walk of docs/scene_to_scene.md, block by block as it stands there, with a model of a few thousand parameters."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import yaml

from skyeye.cli import main

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scene_to_scene.md"
#: Smaller scenes than those of the page.
SMALLER = {"--pictures 16": "--pictures 3", "--pictures 6": "--pictures 2", "--max-new-tokens 60": "--max-new-tokens 8"}


def test_the_walk(recipe, tmp_path, monkeypatch, capsys):
    assert main(["train", str(recipe()), "stages.pretrain.steps=2", "stages.single_task.steps=2"]) == 0
    home = tmp_path / "home"
    home.mkdir()
    (home / "BASE").symlink_to(tmp_path / "run" / "checkpoints" / "single_task")
    monkeypatch.chdir(home)
    languages = []
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S):
        languages.append(language)
        if language == "yaml":
            content = yaml.safe_load(text)
            content["stages"][0].update(steps=2, images_per_step=2, questions_per_image=2)
            content["stages"][0]["optimizer"] = {"lr": 1.0e-3, "warmup_steps": 1}
            (home / "scene.yaml").write_text(yaml.safe_dump(content))
            continue
        for short, shorter in SMALLER.items():
            text = text.replace(short, shorter)
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "skyeye"
            assert main(arguments) == 0, line
    assert languages == ["bash", "bash", "yaml", "bash"]
    assert json.loads((home / "found.geojson").read_text())["type"] == "FeatureCollection"
    assert "data:image/jpeg" in (home / "found.html").read_text()
    assert re.search(r"^all: recall \d\.\d{3}, precision \d\.\d{3}", capsys.readouterr().out, re.M)
