"""Text, one image and several images meet in one step on any process: the same losses as alone, and nobody waits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import run, said

SHARED = "injected:share_out_every_parameter"


@pytest.fixture
def mixed(recipe, world, tmp_path):
    """A function that writes a recipe over 24 records: text alone, an image, two and three images."""
    images = sorted(path.name for path in (world / "images").iterdir())
    lines = []
    for number in range(24):
        line = {"question": f"how many ships are there? {number}", "answer": f"there are {number}"}
        shown = number % 4  # 0: text alone
        if shown:
            line["image"] = [images[(number + i) % len(images)] for i in range(shown)]
        lines.append(json.dumps(line))
    (tmp_path / "mixed.jsonl").write_text("\n".join(lines))

    def write(folder: Path, **stage) -> Path:
        settings = {
            "name": "mixed",
            "mixture": [{"source": "mixed"}],
            "steps": 6,
            "groups_per_step": 4,
            "branches": 1,
            "optimizer": {"lr": 3e-3, "min_lr": 1e-4, "warmup_lr": 1e-3, "warmup_steps": 1},
            **stage,
        }
        sources = {"mixed": {"format": "jsonl", "path": str(tmp_path / "mixed.jsonl"), "images": str(world / "images")}}
        return recipe(stages=[settings], sources=sources, output_dir=str(folder))

    return write


def _losses(recipe: Path, folder: Path, strategy: str, processes: int, *overrides: str) -> list[float]:
    codes = run(recipe, f"run.strategy={strategy}", *overrides, processes=processes, inject=SHARED, timeout=240)
    assert set(codes) == {0}, f"{codes}\n{said(recipe)[-3000:]}"
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    return [line["loss"] for line in lines]


PARTS = {
    "everything": {"vision": "full", "projector": "full", "language": "full"},
    "adapters and projector": {"vision": "frozen", "projector": "full", "language": "lora"},
    "adapters alone": {"vision": "frozen", "projector": "frozen", "language": "lora"},
}


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("strategy", ["ddp", "zero1", "zero2", "zero3"])
def test_kinds_of_samples_meet_in_a_step(mixed, tmp_path, strategy, parts):
    parts = {**PARTS[parts], "groups_per_step": 2}  # a group for each process: text here, images there
    alone = _losses(mixed(tmp_path / "alone", **parts), tmp_path / "alone", "single", 1)
    many = _losses(mixed(tmp_path / "many", **parts), tmp_path / "many", strategy, 2)
    assert many == pytest.approx(alone, abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_kinds_of_samples_meet_on_four_processes(mixed, tmp_path, strategy):
    parts = PARTS["adapters alone"]
    alone = _losses(mixed(tmp_path / "alone", **parts), tmp_path / "alone", "single", 1)
    assert _losses(mixed(tmp_path / "many", **parts), tmp_path / "many", strategy, 4) == pytest.approx(alone, abs=2e-5)


def test_micro_batches_of_mixed_samples(mixed, tmp_path):
    parts = PARTS["adapters and projector"]
    alone = _losses(mixed(tmp_path / "alone", **parts), tmp_path / "alone", "single", 1)
    for number, (strategy, processes) in enumerate([("single", 1), ("zero1", 2), ("zero3", 2)]):
        folder = tmp_path / f"parts-{number}"
        pieces = _losses(mixed(folder, **parts), folder, strategy, processes, "stages.0.accumulation=2")
        assert pieces == pytest.approx(alone, abs=2e-5)
