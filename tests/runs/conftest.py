"""Run folders as training leaves them, written by hand: every number of a page is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from skyeye.data.geometry.box_text import read_answer_boxes
from skyeye.eval.results import BenchmarkResult, EvalResults, MetricValue, Protocol, write_scores


def log_line(stage: str, step: int, loss: float | None, **more) -> dict:
    line = {"stage": stage, "step": step, "steps": 100, "time": "2026-01-02T03:04:05+00:00", "loss": loss}
    line |= {"learning_rate": 1e-3, "gradient_norm": 0.5, "samples_per_second": 10.0 * step, "mfu": 0.25}
    return {**line, "data_wait_share": 0.1, "memory_peak_gib": 1.5, "seconds_left": 90.0, **more}


@pytest.fixture
def one_score() -> EvalResults:
    """Results with one value, 61.54 % of synth.vqa."""
    protocol = Protocol("VQA", "vqa", "accuracy", "how many?", "greedy", "exact match", "95 %")
    metrics = {"accuracy": MetricValue(61.54, shuffled_images=2.0), "count_error": MetricValue(None)}
    result = BenchmarkResult(metrics, {"records": 7, "images": 7}, protocol)
    return EvalResults({"synth.vqa": result}, {"checkpoint": "c", "seconds": 3})


@pytest.fixture
def make_run(tmp_path) -> Callable[..., Path]:
    """A function that writes a run folder: ``make_run("A", lines=[...], recipe={...}, events=[...], samples=...)``."""

    def write(
        name: str = "A", *, lines=None, recipe=None, events=(), answers=(), question="[vqa] how many?", scores=None
    ):
        folder = tmp_path / name
        folder.mkdir()
        stages = [{"name": "pretrain", "steps": 100}, {"name": "tune", "steps": None, "epochs": 2}]
        content = {"name": "ships", "output_dir": str(folder), "stages": stages, "seed": 3, **(recipe or {})}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
        (folder / "environment.json").write_text(json.dumps({"python": "3.11", "versions": {"torch": "2.9"}}))
        (folder / "skipped.txt").write_text("".join(f"world\trecord {n} is broken\n" for n in range(30)))
        if lines is None:
            lines = [log_line("pretrain", step, 5.0 - step / 10) for step in (10, 20, 30)]
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if events:
            (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        if answers:
            pictures = folder / "samples" / "pictures"
            pictures.mkdir(parents=True)
            pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(pictures / f"{'0' * 16}.jpg")
        for step, answer in answers:
            row = {"id": "7", "source": "world", "task": "vqa", "pictures": [f"{'0' * 16}.jpg"], "failed": ""}
            row |= {"question": question, "expected": "{<10><20><30><60>}", "answer": answer}
            texts = ("question", "expected", "answer")
            row["boxes"] = {kind: [list(box) for box in read_answer_boxes(row[kind])] for kind in texts}
            content = {"stage": "pretrain", "step": step, "held_out": True, "samples": [row]}
            (folder / "samples" / f"pretrain-{step:07d}.json").write_text(json.dumps(content))
        if scores:
            place = folder / "checkpoints" / "pretrain" / "eval"
            place.mkdir(parents=True)
            write_scores(place / "scores.json", scores)
        return folder

    return write
