"""Questions: RSVQA low and high resolution, RSIVQA, ERA-VQA.

Counts and areas of RSVQA are compared as the numbers in the files; the mean over types is the SkyEyeGPT paper's, which
leaves both out.
"""

from __future__ import annotations

from functools import partial

from skyeye.eval import metrics
from skyeye.eval.benchmarks import paper, prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace, annotation_file
from skyeye.eval.benchmarks.published import PUBLISHED
from skyeye.eval.benchmarks.words import VQA


def _benchmark(
    name: str,
    title: str,
    source: DataPlace,
    also: tuple[str, ...],
    types: tuple[str, ...] | None = None,
    quoted: str | None = None,
    words: str = "",
    of: str | None = None,
) -> Benchmark:
    in_mean = f"mean_over_types takes in {', '.join(types)}" if types else ""
    return Benchmark(
        name,
        title,
        "vqa",
        source,
        partial(metrics.vqa, mean_types=types) if types else metrics.vqa,
        "accuracy",
        20,
        "; ".join(part for part in (VQA, in_mean, words) if part),
        also=also,
        # the files of both RSVQA sets may lie in one folder, and the reader takes a folder
        keep=lambda record: of in (None, record.source),
        prompt=prompts.VQA,
        published=PUBLISHED.get(name),
        quoted=quoted and (paper.VQA, quoted),
    )


def _rsvqa(file: str, split: str, *images: str) -> DataPlace:
    ids = f"{split}: and the id of the question in the file ({split}:1234)"
    return annotation_file("rsvqa", (file,), ids, split=split, whole_folder=True, images=images)


BENCHMARKS = [
    _benchmark(
        "rsvqa_lr",
        "RSVQA-LR (test)",
        _rsvqa("LR_split_{split}_questions.json", "test", "Images", "Images_LR"),
        ("RSVQA-LR", "RSVQA-LR-test", "RSVQA"),
        ("presence", "comparison", "rural_urban"),
        "RSVQA-LR-test",
        of="RSVQA-LR",
    ),
    _benchmark(
        "rsvqa_hr.test1",
        "RSVQA-HR (test 1)",
        _rsvqa("USGS_split_{split}_questions.json", "test", "Images", "Data"),
        ("RSVQA-HR", "RSVQA-HR-test-1", "RSVQA"),
        ("presence", "comparison"),
        "RSVQA-HR-test-1",
        of="RSVQA-HR",
    ),
    _benchmark(
        "rsvqa_hr.test2",
        "RSVQA-HR (test 2, Philadelphia)",
        _rsvqa("USGS_split_{split}_questions.json", "test_phili", "Images", "Data"),
        ("RSVQA-HR-test-2", "RSVQA-HR-phili", "RSVQA"),
        ("presence", "comparison"),
        "RSVQA-HR-test-2",
        of="RSVQA-HR",
    ),
    _benchmark(
        "rsivqa",
        "RSIVQA (questions about the validation images of DOTA)",
        annotation_file(
            "rsivqa",
            ("RSIVQA/DOTA/dota_{split}_vqa*.txt", "RSIVQA/dota_{split}_vqa*.txt", "dota_{split}_vqa*.txt"),
            "name of the text file and number of the line (dota_val_vqa2:12)",
            split="val",
            images=("DOTA/val/images", "DOTA/val", "DOTA/images", "DOTA"),
        ),
        ("RSIVQA", "RSIVQA-DOTA"),
        words="RSIVQA publishes no test split; the files of UCM, Sydney and the others name no split at all",
    ),
    _benchmark(
        "era.vqa",
        "ERA-VQA (test)",
        annotation_file(
            "skyeye968k",
            ("EARVqa_{split}.json", "ERAVqa_{split}.json"),  # the release writes EARVqa.json
            "name of the JSON file and number of the record, from 0 (EARVqa_test:12)",
            images=("SingleFrames/Test",),
            task="vqa",
            source="ERA-VQA",
        ),
        ("ERA-VQA",),
        words="no test file of ERA-VQA is published; the form is that of the training file",
    ),
]
