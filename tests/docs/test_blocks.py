"""Code blocks of README.md, CONTRIBUTING.md and docs/: what they tell a person to type is understood by the program.

Commands are parsed, not run, Python is compiled, YAML and JSON are read. Blocks that are run, too, stand in ``RUN``.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from skyeye import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
#: Pages whose blocks are executed, and by which test.
RUN = {
    "own_data.md": "tests/integration/test_own_data.py",
    "quick_start.md": "tests/docs/test_quick_start.py",
    "scene_to_scene.md": "tests/integration/test_scene_to_scene.py",
}
_COMMAND = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S* )*(?:\.venv/bin/)?skyeye\s")
_ENDS = ("|", ">", "&", "...")
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page in these languages, in order."""
    return [text for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def commands(text: str) -> list[list[str]]:
    """The words behind ``skyeye`` of each command in a block; of several ways to write it (``a | b``) the first."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        for piece in re.split(r"\s&&\s", line):
            if told := _COMMAND.match(piece):
                words = shlex.split(piece[told.end() :], comments=True)
                found.append(words[: min((words.index(end) for end in _ENDS if end in words), default=len(words))])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # places that a command would write to are tried
    wrong = []
    for words in [words for text in blocks(page, "bash", "sh", "console", "") for words in commands(text)]:
        try:
            cli.parse(words)
        except SystemExit as end:
            if end.code:
                wrong.append(f"skyeye {shlex.join(words)}: {capsys.readouterr().err.splitlines()[-1]}")
    assert not wrong, "\n".join(wrong)


def test_commands_in_the_text_of_troubleshooting(tmp_path, monkeypatch):
    """Its remedies stand in tables."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    told = [words for span in re.findall(r"`(skyeye [^`]+)`", text) for words in commands(span)]
    told = [words for words in told if any(word.isupper() for word in words)]  # others are names of commands
    assert len(told) > 10
    for words in told:
        cli.parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_other_blocks_are_what_they_say(page):
    for text in blocks(page, "python"):
        compile(text, page.name, "exec")
    for text in blocks(page, "yaml"):
        yaml.safe_load(text)
    for text in blocks(page, "json"):
        try:
            json.loads(text)
        except ValueError:  # a line for each object
            assert [json.loads(line) for line in text.splitlines()]


def test_what_is_run_is_named():
    for page, test in RUN.items():
        assert (ROOT / "docs" / page).is_file() and page in (ROOT / test).read_text(encoding="utf-8")


def test_commands_of_a_block():
    text = "A=1 skyeye eval X \\\n  --limit 3 > f  # a\ncd x && skyeye doctor\necho skyeye train\nskyeye runs | head\n"
    assert commands(text) == [["eval", "X", "--limit", "3"], ["doctor"], ["runs"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_that_the_site_does_not_check_lead_somewhere(page):
    """Those from README and CONTRIBUTING, and those out of docs/."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in (link for link in links if "://" not in link and (page.parent == ROOT or link.startswith("../"))):
        name, _, anchor = link.partition("#")
        assert (page.parent / name).exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", (page.parent / name).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-") for title in titles}, (
                link
            )


def test_every_recipe_stands_on_its_page():
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    named = page.replace("`..._", "`configs/skyeyegpt_7b_")
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        assert f"{path.stem}.yaml`" in named, path.name
