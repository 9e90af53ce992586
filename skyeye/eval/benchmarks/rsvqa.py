"""RSVQA: low resolution (Sentinel-2) and high resolution (USGS), test split.

Counts and areas are compared as the numbers in the files; the mean over types is the SkyEyeGPT paper's: without both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.eval import metrics
from skyeye.eval.benchmarks.base import Benchmark, find
from skyeye.eval.benchmarks.words import VQA


def source(*patterns: str) -> Callable[[Path], SourceConfig]:
    def build(data_root: Path) -> SourceConfig:
        return SourceConfig("rsvqa", str(find(data_root, *patterns).parent), split="test")

    return build


def _benchmark(name: str, title: str, patterns: tuple[str, ...], types: tuple[str, ...]) -> Benchmark:
    words = f"{VQA}; mean_over_types takes in {', '.join(types)}"
    metric = partial(metrics.vqa, mean_types=types)
    return Benchmark(name, title, "vqa", source(*patterns), metric, "accuracy", 20, words)


_LR, _HR = "LR_split_test_questions.json", "USGS_split_test_questions.json"
BENCHMARKS = [
    _benchmark(
        "rsvqa_lr", "RSVQA-LR (test)", (_LR, f"RSVQA_LR/{_LR}", f"*/{_LR}"), ("presence", "comparison", "rural_urban")
    ),
    _benchmark("rsvqa_hr", "RSVQA-HR (test)", (_HR, f"RSVQA_HR/{_HR}", f"*/{_HR}"), ("presence", "comparison")),
]
