"""RSIEval: one detailed caption an image, and questions by type."""

from __future__ import annotations

from skyeye.eval import metrics
from skyeye.eval.benchmarks import prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace, annotation_file
from skyeye.eval.benchmarks.words import CAPTION, VQA


def _place(task: str, ids: str) -> DataPlace:
    return annotation_file("rsieval", ("RSIEval/annotations.json",), ids, images=("images",), task=task)


BENCHMARKS = [
    Benchmark(
        "rsieval.caption",
        "RSIEval: detailed captions",
        "captions",
        _place("caption", "file name of the image"),
        metrics.captions,
        "CIDEr",
        256,
        f"{CAPTION}; one caption an image, a paragraph",
        also=("RSIEval-caption",),
        prompt=prompts.DETAIL,
    ),
    Benchmark(
        "rsieval.vqa",
        "RSIEval: questions",
        "vqa",
        _place("vqa", "rsieval: and the number of the question, from 0 (rsieval:12)"),
        metrics.vqa,
        "accuracy",
        32,
        f"{VQA}; in the paper people judge the answers, which takes synonyms: its numbers are not these",
        also=("RSIEval-VQA",),
        prompt=prompts.VQA,
    ),
]
