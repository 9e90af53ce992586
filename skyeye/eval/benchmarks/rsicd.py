"""RSICD captions: the Karpathy-style JSON with its test split, all five captions of an image as references."""

from __future__ import annotations

from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.eval import metrics
from skyeye.eval.benchmarks.base import Benchmark, find
from skyeye.eval.benchmarks.words import CAPTION


def source(data_root: Path) -> SourceConfig:
    annotations = find(data_root, "dataset_rsicd*.json", "*/dataset_rsicd*.json")
    images = find(annotations.parent, "RSICD_images", "images")
    return SourceConfig("karpathy", str(annotations), images=str(images), split="test")


BENCHMARKS = [
    Benchmark("rsicd.caption", "RSICD captions (test)", "captions", source, metrics.captions, "CIDEr", 64, CAPTION)
]
