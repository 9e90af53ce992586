"""How large the published test sets are, each with who says so; and a sentence where what is there differs.

What is not here is not known, or sources contradict each other: docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from skyeye.data.record import Record
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.results import Published

_BIG_VISION = "counted by the loaders of github.com/google-research/big_vision (datasets/rsvqa_lr, rsvqa_hr)"
_RSVG = "table in the README of github.com/ZhanYang-nwpu/RSVG-pytorch: 5,505 / 1,201 / 1,227 expressions"
_DIOR = "table in the README of github.com/ZhanYang-nwpu/RSVG-pytorch; lines of the published test.txt"

PUBLISHED: dict[str, Published] = {
    "rsicd.caption": Published(1093, "test images of RSICD (Lu et al., TGRS 2018): 8,734 / 1,094 / 1,093"),
    "ucm.caption": Published(210, "test images counted in the published dataset.json: 1,680 / 210 / 210"),
    "sydney.caption": Published(58, "test images counted in the published JSON: 497 / 58 / 58"),
    "nwpu.caption": Published(3150, "a tenth of the 31,500 images (Cheng et al., NWPU-Captions, TGRS 2022)"),
    "rsitmd.caption": Published(452, "images counted in the published test_filename.txt"),
    "capera.caption": Published(
        1391, "the 2,864 videos (Bashmal et al., Remote Sensing 2023) without the 1,473 of the training file"
    ),
    "rsvqa_lr": Published(10_004, _BIG_VISION),
    "rsvqa_hr.test1": Published(222_684, _BIG_VISION),
    "rsvqa_hr.test2": Published(105_647, _BIG_VISION),
    "rsivqa": Published(4041, "lines counted in the published dota_val_vqa2.txt"),
    "rsvg.val": Published(1201, _RSVG),
    "rsvg.test": Published(1227, _RSVG),
    "dior_rsvg.test": Published(7500, _DIOR),
    "dior.identify": Published(7500, _DIOR),
    "xlrs_lite": Published(3080, "rows of the published English set, as public code that reads it counts them"),
    "vrsbench.caption": Published(9350, "rows of VRSBench_EVAL_Cap.json, as public readers count them"),
    "vrsbench.refer": Published(16_159, "rows of VRSBench_EVAL_referring.json, as public readers count them"),
    "vrsbench.vqa": Published(37_409, "table 3 in the README of github.com/lx709/VRSBench, the ten types added up"),
    "cdvqa.test1": Published(39_686, "answers counted in the published Test_answers.json"),
    "cdvqa.test2": Published(31_036, "answers counted in the published Test2_answers.json"),
}
#: Pictures and captions are found among each other in the same test sets.
PUBLISHED |= {f"{data}.retrieval": PUBLISHED[f"{data}.caption"] for data in ("rsicd", "rsitmd", "ucm", "sydney")}

#: Scene sets publish no test split: their images and classes in all.
WHOLE_SETS: dict[str, tuple[int, int]] = {
    "aid.scene": (10_000, 30),
    "nwpu.scene": (31_500, 45),
    "ucmerced.scene": (2_100, 21),
    "eurosat.scene": (27_000, 10),
    "whu_rs19.scene": (1_005, 19),
}


def size_note(benchmark: Benchmark, records: Sequence[Record]) -> str | None:
    """A sentence when the records are not the published test set, None when they are as many (or nothing is known)."""
    here = benchmark.questions(records)
    if benchmark.name in WHOLE_SETS:
        images, classes = WHOLE_SETS[benchmark.name]
        asked = len(records[0].references["classes"]) if records else 0
        fewer = f"; only {asked} of {classes} classes are there and asked for" if asked < classes else ""
        return (
            f"{here:,} of {images:,} images, chosen by the rule of docs/benchmarks.md; no test split is published, "
            f"so others' numbers are of other images{fewer}"
        )
    if benchmark.published is None or benchmark.published.records == here:
        return None
    published = f"{benchmark.published.records:,}"
    if here < benchmark.published.records:
        return f"{here:,} of {published} published records: not comparable with published numbers"
    return f"{here:,} records where {published} are published: not comparable with published numbers"
