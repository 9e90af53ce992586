"""What the hub would take of a folder."""

from __future__ import annotations

import json

import pytest

from skyeye.serve.export import hub
from skyeye.serve.export.hub import uploaded, what_the_hub_would_refuse

CARD = "---\nlibrary_name: skyeye\npipeline_tag: image-text-to-text\nlicense: mit\nbase_model: [a/b]\n---\n\n# x\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    return tmp_path


def test_a_sound_folder(folder):
    assert not list(what_the_hub_would_refuse(folder))
    (folder / ".cache/huggingface").mkdir(parents=True)
    (folder / ".cache/huggingface/x.lock").write_text("")
    assert uploaded(folder) == {"README.md": len(CARD), "model.safetensors": 5}


def test_what_is_wrong_is_named(folder, monkeypatch):
    monkeypatch.setattr(hub, "LARGEST", 4)
    (folder / "old.bin").write_bytes(b"1")
    (folder / ".env").write_text("")
    (folder / "link").symlink_to(folder / "old.bin")
    (folder / "config.json").write_text(json.dumps({"a": [{"b": "/home/me/x"}]}))
    wrong = " | ".join(what_the_hub_would_refuse(folder))
    for words in (
        ".env is a hidden file",
        "link is a link",
        "old.bin is no safetensors file",
        "model.safetensors has 0.0 GB; the hub takes at most",
        "config.json, a.0.b: /home/me/x is a path of one machine",
    ):
        assert words in wrong
    (folder / "config.json").unlink()
    assert "old.bin is no safetensors" not in " ".join(what_the_hub_would_refuse(folder, pickles=True))


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("# no head\n", "its head names no license"),
        (CARD.replace("license: mit\n", ""), "its head names no license"),
        (CARD.replace("a/b", "/models/llama"), "base_model /models/llama is no name on the hub"),
        ("---\n[1, 2]\n---\n", "its head is no metadata of the hub"),
    ],
)
def test_the_head_of_the_card(folder, card, words):
    (folder / "README.md").write_text(card)
    assert words in " | ".join(what_the_hub_would_refuse(folder))
    (folder / "README.md").unlink()
    assert "README.md is missing" in " | ".join(what_the_hub_would_refuse(folder))
