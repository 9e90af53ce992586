"""UAVBench by tag, each scored whole and by unit (a data set with that tag). What is not published: docs/uavit.md."""

from __future__ import annotations

from skyeye.data.prompts.uavit import UAVIT_TAGS
from skyeye.data.record import Record
from skyeye.eval import metrics
from skyeye.eval.benchmarks import prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import annotation_file
from skyeye.eval.benchmarks.words import (
    CAPTION,
    COUNTING,
    EXACT_CLASS,
    IDENTIFY,
    PHRASE_GROUNDING,
    REFER,
    UNITS,
    VQA,
)
from skyeye.eval.metrics import Metric

#: Task -> (family, metric, main metric, its words, longest answer).
_SCORED: dict[str, tuple[str, Metric, str, str, int]] = {
    "classification": ("vqa", metrics.vqa, "accuracy", EXACT_CLASS, 20),
    "detailed_classification": ("vqa", metrics.vqa, "accuracy", EXACT_CLASS, 32),
    "caption": ("captions", metrics.captions, "CIDEr", CAPTION, 64),
    "detail": ("captions", metrics.captions, "CIDEr", CAPTION, 256),
    "vqa": ("vqa", metrics.vqa, "accuracy", VQA, 20),
    "counting": ("numbers", metrics.counting, "within_1", COUNTING, 16),
    "detection": ("phrase_grounding", metrics.phrase_grounding, "f1@0.5", PHRASE_GROUNDING, 256),
    "refer": ("refer", metrics.refer, "accuracy@0.5", REFER, 48),
    "region_classification": ("vqa", metrics.vqa, "accuracy", EXACT_CLASS, 20),
    "identify": ("identify", metrics.identify, "CIDEr", IDENTIFY, 64),
    "region_vqa": ("vqa", metrics.vqa, "accuracy", VQA, 20),
}
_BOXES = ("detection", "refer")


def _of(task: str, tag: str) -> Benchmark:
    family, metric, main, words, longest = _SCORED[task]

    def keep(record: Record) -> bool:
        return record.task == task

    return Benchmark(
        f"uavbench.{tag[1:-1]}",
        f"UAVBench {tag}",
        family,
        annotation_file("uavit", ("UAVBench*.json", "UAVBench*.jsonl"), _IDS),
        metrics.by_unit(metric, main),
        main,
        longest,
        f"{words}; {UNITS}",
        keep=keep,
        also=(f"UAVBench-{tag[1:-1]}",),
        prompt=prompts.VQA,
        output="boxes" if task in _BOXES else "text",
    )


_IDS = "name of the file and number of the row, from 0 (UAVBench:12)"
BENCHMARKS = [_of(task, tag) for task, tag in UAVIT_TAGS.items()]
