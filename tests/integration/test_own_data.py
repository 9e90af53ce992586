"""The tutorial of docs/own_data.md, block by block as it stands there: pictures and a table become an adapter."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from skyeye.cli import main
from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "own_data.md"
SECTION = "## From a folder of pictures and a table to an adapter"


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the section's code blocks, in order."""
    section = DOCUMENT.read_text(encoding="utf-8").split(SECTION)[1].split("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def base(recipe, tmp_path):
    """A model of a few thousand parameters, to go on from."""
    assert main(["train", str(recipe()), "stages.pretrain.steps=2", "stages.single_task.steps=2"]) == 0
    return tmp_path / "run" / "checkpoints" / "single_task"


def test_the_tutorial(base, tmp_path, monkeypatch, capsys):
    home = tmp_path / "home"
    (home / "harbour").mkdir(parents=True)
    (home / "BASE").symlink_to(base)
    monkeypatch.chdir(home)
    rng = np.random.default_rng(0)
    languages = []
    for language, text in blocks():
        languages.append(language)
        if language == "csv":
            (home / "harbour" / "labels.csv").write_text(text)
            for name in sorted({line.split(",")[0] for line in text.splitlines()[1:]}):
                Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(home / "harbour" / name)
        elif language == "python":
            exec(compile(text, str(DOCUMENT), "exec"), {})
        elif language == "yaml":
            content = yaml.safe_load(text)
            content["stages"][0].update(steps=3, images_per_step=2)
            content["stages"][0]["optimizer"] = {"lr": 1.0e-3, "warmup_steps": 1}
            (home / "harbour.yaml").write_text(yaml.safe_dump(content))
        else:
            assert language == "bash"
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "skyeye"
                assert main(arguments) == 0, line
    assert languages == ["csv", "python", "bash", "yaml", "bash"]

    lines = [json.loads(line) for line in (home / "harbour" / "my.jsonl").read_text().splitlines()]
    assert len(lines) == 4 and sum(len(line["boxes"]) for line in lines) == 6
    records, problems = read_with_problems(SourceConfig("jsonl", "harbour/my.jsonl"), "harbour")
    assert not problems and {"vqa", "caption", "refer", "identify", "detection"} == {record.task for record in records}
    assert (home / "runs/harbour/checkpoints/adapt/recipe.yaml").is_file()
    assert (home / "harbour_adapter.pth").stat().st_size < 100_000
    assert "how many ships are there?" in capsys.readouterr().out


def test_the_first_lines_of_the_page_are_read(tmp_path):
    for name in ("pier_1.png", "pier_2.png"):
        Image.new("RGB", (100, 80)).save(tmp_path / name)
    first = re.search(r"^```json\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "my.jsonl").write_text(first)
    records, problems = read_with_problems(SourceConfig("jsonl", str(tmp_path / "my.jsonl")), "harbour")
    assert not problems
    assert [record.task for record in records] == ["vqa", "caption", "refer", "identify", "detection", "vqa"]
