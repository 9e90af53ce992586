"""docs/quick_start.md, block by block behind the demo: here with a random model of a few thousand parameters."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from skyeye import cli
from skyeye.models.save import save_checkpoint

PAGE = Path(__file__).resolve().parents[2] / "docs/quick_start.md"


@pytest.fixture
def home(tmp_path, world, small_parts, monkeypatch):
    """A folder in which the demo seems to have run."""
    model, processor = small_parts
    save_checkpoint(tmp_path / "runs/demo/checkpoints/conversation", model, model.state_dict(), processor=processor)
    (tmp_path / "runs/demo/scenes").symlink_to(world)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_it_tells_to_type(home, capsys):
    text = PAGE.read_text(encoding="utf-8").split("## Ask the model")[1]
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), {})
            continue
        for line in block.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "skyeye"
            assert cli.main(arguments) == 0, line
    told = capsys.readouterr().out
    assert "the same answer; logits differ by at most 0 " in told and told.endswith("as it should be\n")
    assert (home / "answer.png").is_file() and (home / "my-model/README.md").is_file()
