"""Paths of one machine in the files of an export."""

from __future__ import annotations

import json

import pytest
import yaml

from skyeye.serve.export.private import is_machine_path, machine_paths, take_machine_paths_out


@pytest.mark.parametrize(
    "text",
    [
        "/data/llama",
        "/x",
        "~/weights/eva.pth",
        r"C:\models\eva.pth",
        "D:/eva",
        r"\\server\share\eva.pth",
        "file:///data/eva",
    ],
)
def test_paths_of_one_machine(text):
    assert is_machine_path(text)


@pytest.mark.parametrize(
    "text", ["meta-llama/Llama-2-7b-chat-hf", "runs/parts/eva.pth", "../shared/data", "/", "a/b", "", "and/or /x", "~"]
)
def test_other_texts(text):
    assert not is_machine_path(text)


def test_they_are_found_and_shortened_wherever_they_stand(tmp_path):
    (tmp_path / "base.json").write_text(json.dumps({"vision": [{"source": "/home/a/eva.pth", "fingerprint": "f"}]}))
    recipe = {"output_dir": "~/runs/x", "sources": {"s": {"path": "data/s", "images": r"C:\pictures\s"}}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"/usr": 1}}}))
    assert len(take_machine_paths_out(tmp_path)) == 3
    assert json.loads((tmp_path / "base.json").read_text())["vision"] == [{"source": "eva.pth", "fingerprint": "f"}]
    read = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert read == {"output_dir": "x", "sources": {"s": {"path": "data/s", "images": "s"}}}
    assert not list(machine_paths(tmp_path))
