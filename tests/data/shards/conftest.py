"""Small data sets to pack, and what their shards are compared with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from skyeye.config.schema import SourceConfig


@pytest.fixture
def write_set(tmp_path):
    """Writes LLaVA-style records and pictures: ``write_set("a", {"x.png": 3, ...})``; a record names one picture."""

    def write(name: str, pictures: dict[str, int], records: list[dict]) -> SourceConfig:
        folder = tmp_path / name
        for picture, shade in pictures.items():
            (folder / "images" / picture).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 7), (shade, 2 * shade % 256, 5)).save(folder / "images" / picture)
        folder.mkdir(exist_ok=True)
        (folder / "all.json").write_text(json.dumps(records))
        return SourceConfig("llava", str(folder / "all.json"), str(folder / "images"))

    return write


@pytest.fixture
def asks():
    """One record: ``asks("x.png", "what?", "a ship")``."""

    def record(image, question: str, answer: str = "yes") -> dict:
        record = {"text": f"[vqa] {question}", "ground_truth": answer, "image": image}
        return record if image else {"text": question, "ground_truth": answer}

    return record


@pytest.fixture
def many(write_set, asks):
    """Two sources of 40 and 20 pictures, 20 of which have the same bytes under other names, with 3 and 1 questions."""
    a = {f"a{n}.png": n for n in range(40)}
    b = {f"sub/b{n}.png": 30 + n for n in range(20)}
    ask_a = [asks(f"a{n % 40}.png", f"question {n}?") for n in range(120)]
    ask_b = [asks(f"b{n}.png", f"other {n}?") for n in range(20)]
    return {"first": write_set("first", a, ask_a), "second": write_set("second", b, ask_b)}


@pytest.fixture
def digests():
    """(folder) -> digest of every file but ``sources.yaml``, which names the folder."""

    def digests(folder: Path) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "sources.yaml"
        }

    return digests
