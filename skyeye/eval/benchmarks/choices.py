"""Questions with options: XLRS-Bench-lite, GEOBench-VLM, LHRS-Bench. Options are shuffled, then each question is asked
once for every turn of them, so that each option stands once at every letter.
"""

from __future__ import annotations

import random
from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.data.formats.base.choices import reordered
from skyeye.data.record import Record
from skyeye.eval import metrics
from skyeye.eval.benchmarks import paper, prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace, annotation_file, locate
from skyeye.eval.benchmarks.published import PUBLISHED
from skyeye.eval.benchmarks.words import CHOICES


def in_every_turn(record: Record) -> list[Record]:
    """The record once for each of its options: in an order drawn from its id, then turned by one each time."""
    order = list(range(len(record.references["options"])))
    random.Random(f"options {record.id}").shuffle(order)
    return [reordered(record, order[turn:] + order[:turn], turn) for turn in range(len(order))]


def xlrs(data_root: Path) -> SourceConfig:
    """The folder of the tables, as downloaded from the hub or saved by ``datasets``."""
    return SourceConfig("xlrs_bench", str(locate(data_root, _XLRS)), split="test")


def _benchmark(
    name: str, title: str, source: DataPlace, also: tuple[str, ...], main: str, words: str, quoted: str | None = None
) -> Benchmark:
    return Benchmark(
        name,
        title,
        "choices",
        source,
        metrics.choices,
        main,
        16,
        f"{CHOICES}; {words}",
        expand=in_every_turn,
        also=also,
        prompt=prompts.VQA,
        published=PUBLISHED.get(name),
        quoted=quoted and (paper.CHOICES, quoted),
    )


_XLRS = ("XLRS-Bench-lite*", "XLRS_Bench_lite*")
_TURN = "and the number of the turn of its options (...:0)"

BENCHMARKS = [
    _benchmark(
        "xlrs_lite",
        "XLRS-Bench-lite (English)",
        DataPlace(_XLRS, f"name of the table, number of the row, from 0, {_TURN}", xlrs),
        ("XLRS-Bench-lite", "XLRS-Bench"),
        "accuracy",
        "the published protocol asks each question once, in the order of the file",
    ),
    _benchmark(
        "geobench_vlm",
        "GEOBench-VLM (single image)",
        annotation_file("geobench_vlm", ("Single/qa.json",), f"question_id of the file, {_TURN}", images=()),
        ("GEOBench-VLM", "GEOBench"),
        "accuracy",
        "the first wording of each question is asked; the published code asks all of them, in the order of the file",
        "GEOBench-VLM",
    ),
    _benchmark(
        "geobench_vlm.temporal",
        "GEOBench-VLM (before and after)",
        annotation_file("geobench_vlm", ("Temporal/qa.json",), f"question_id of the file, {_TURN}", images=()),
        ("GEOBench-VLM-temporal",),
        "accuracy",
        "the first and the last image of each row, the first wording",
    ),
    _benchmark(
        "lhrs_bench",
        "LHRS-Bench",
        annotation_file(
            "lhrs_bench",
            ("LHRS-Bench/qa.json", "LHRS_Bench/qa.json", "LHRSBench/qa.json"),
            f"number of the question, from 0, {_TURN}",
            images=("imgs_png", "imgs_jpg"),
        ),
        ("LHRS-Bench",),
        "circular_accuracy",
        "in the paper each question is asked four times with shuffled options, and one wrong answer makes it wrong",
    ),
]
