"""AID scene classification: the class is the folder.

Where RSICD's captions of the same images lie beside them, their split is followed, so that no test image was seen with
its caption.
"""

from __future__ import annotations

from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.eval import metrics
from skyeye.eval.benchmarks.base import Benchmark, find
from skyeye.eval.benchmarks.words import CLASSIFICATION

#: Share of the images that are tested where no split is published (AID names none; papers draw their own halves).
TEST_FRACTION = 0.2


def source(data_root: Path) -> SourceConfig:
    folder = find(data_root, "AID_RSICD/images", "AID")
    captions = sorted(folder.parent.glob("dataset_rsicd*.json"))
    options = {"split_file": str(captions[0])} if captions else {"test_fraction": TEST_FRACTION}
    return SourceConfig("class_folders", str(folder), split="test", options=options)


BENCHMARKS = [
    Benchmark(
        "aid.scene",
        "AID scene classification (test)",
        "classification",
        source,
        metrics.classification,
        "accuracy",
        20,
        CLASSIFICATION,
    )
]
