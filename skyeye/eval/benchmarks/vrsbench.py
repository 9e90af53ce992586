"""VRSBench: captions, referring expressions of unique and other objects, questions by type."""

from __future__ import annotations

from collections.abc import Sequence

from skyeye.data.record import Record
from skyeye.eval import metrics
from skyeye.eval.benchmarks import paper, prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace, annotation_file
from skyeye.eval.benchmarks.published import PUBLISHED
from skyeye.eval.benchmarks.words import CAPTION, REFER, VQA
from skyeye.eval.metrics.base import by_label
from skyeye.eval.results import Answer


def refer(records: Sequence[Record], answers: Sequence[Answer]) -> metrics.Scores:
    """As everywhere, and ``accuracy@0.7`` of unique and other objects, which its table has, too."""
    scores = metrics.refer(records, answers)
    parts, _ = by_label(
        "accuracy@0.7", [item["type"] for item in scores.items], [item["iou"] > 0.7 for item in scores.items]
    )
    scores.statistics |= parts
    return scores


def _place(file: str, task: str) -> DataPlace:
    ids = f"{task}: and question_id of the file ({task}:12)"
    return annotation_file("vrsbench", (file,), ids, images=("Images_val", "images"), task=task)


BENCHMARKS = [
    Benchmark(
        "vrsbench.caption",
        "VRSBench: detailed captions",
        "captions",
        _place("VRSBench_EVAL_Cap.json", "caption"),
        metrics.captions,
        "CIDEr",
        256,
        f"{CAPTION}; its captions are paragraphs; the published CLAIR, which GPT judges, is not computed",
        also=("VRSBench-caption",),
        prompt=prompts.DETAIL,
        published=PUBLISHED["vrsbench.caption"],
        quoted=(paper.VRSBENCH, "captions"),
    ),
    Benchmark(
        "vrsbench.refer",
        "VRSBench: words to box",
        "refer",
        _place("VRSBench_EVAL_referring.json", "refer"),
        refer,
        "accuracy@0.5",
        48,
        f"{REFER}; unique: the only object of its class; the published code adds 1 to sides in hundredths",
        chosen=lambda record: tuple(record.references["boxes"][0]),
        also=("VRSBench-refer", "VRSBench-VG"),
        prompt=prompts.REFER,
        output="boxes",
        published=PUBLISHED["vrsbench.refer"],
        quoted=(paper.VRSBENCH, "referring"),
    ),
    Benchmark(
        "vrsbench.vqa",
        "VRSBench: questions",
        "vqa",
        _place("VRSBench_EVAL_vqa.json", "vqa"),
        metrics.vqa,
        "accuracy",
        32,
        f"{VQA}; published numbers are judged by GPT, which takes synonyms: they are not these",
        also=("VRSBench-VQA",),
        prompt=prompts.VQA,
        published=PUBLISHED["vrsbench.vqa"],
        quoted=(paper.VRSBENCH, "questions"),
    ),
]
