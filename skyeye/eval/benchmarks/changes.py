"""Pairs of images, before and after: captions of what changed (LEVIR-CC) and questions about it (CDVQA)."""

from __future__ import annotations

from skyeye.eval import metrics
from skyeye.eval.benchmarks import prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import annotation_file
from skyeye.eval.benchmarks.published import PUBLISHED
from skyeye.eval.benchmarks.words import CAPTION, PAIR, VQA


def _cdvqa(name: str, split: str, file: str, also: tuple[str, ...]) -> Benchmark:
    return Benchmark(
        name,
        f"CDVQA ({split})",
        "vqa",
        annotation_file(
            "cdvqa",
            (f"{file}_questions.json",),
            f"{split}: and the id of the question in the file ({split}:1234)",
            split=split,
            whole_folder=True,
            images=("SECOND/test", "SECOND", "CDVQA"),
        ),
        metrics.vqa,
        "accuracy",
        20,
        f"{VQA}; classes and ranges of the files without underscores (0 to 10, low vegetation); {PAIR}",
        also=also,
        prompt=prompts.VQA,
        published=PUBLISHED[name],
    )


BENCHMARKS = [
    Benchmark(
        "levir_cc",
        "LEVIR-CC (test): captions of changes",
        "captions",
        annotation_file(
            "levir_cc", ("LevirCCcaptions*.json",), "file name of the pair", images=("images", "LEVIR-CC/images")
        ),
        metrics.captions,
        "CIDEr",
        64,
        f"{CAPTION}; {PAIR}",
        also=("LEVIR-CC",),
        prompt=prompts.CHANGE,
    ),
    _cdvqa("cdvqa.test1", "test", "Test", ("CDVQA", "CDVQA-test-1")),
    _cdvqa("cdvqa.test2", "test2", "Test2", ("CDVQA", "CDVQA-test-2")),
]
