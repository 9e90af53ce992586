"""Pictures and captions that are to find each other: RSICD, RSITMD, UCM- and Sydney-Captions."""

from __future__ import annotations

from collections.abc import Sequence

from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.eval import metrics
from skyeye.eval.benchmarks import captions
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.published import PUBLISHED
from skyeye.eval.benchmarks.words import RETRIEVAL


def caption_texts(records: Sequence[Record], template: str | None) -> list[Record]:
    """Every caption of every picture, each with the id of its picture.

    Raises:
        SkyEyeError: there is a template: captions are compared as they are.
    """
    if template is not None:
        raise SkyEyeError("captions are compared as they are", where=f"prompt {template!r}", remedy="leave it out")
    return [
        Record(
            id=f"{record.id} caption {number}",
            source=record.source,
            task="caption",
            split=record.split,
            images=(),
            turns=(Turn(caption, "", "caption"),),
            references={"of": record.id},
        )
        for record in records
        for number, caption in enumerate(record.references["captions"])
    ]


def _benchmark(of: Benchmark) -> Benchmark:
    name = of.name.replace(".caption", ".retrieval")
    return Benchmark(
        name,
        of.title.replace("captions", "retrieval").replace("Captions", "Captions retrieval"),
        "retrieval",
        of.source,
        metrics.retrieval,
        "mean_recall",
        0,
        RETRIEVAL,
        published=PUBLISHED[name],
        output="embedding",
        needs_images=True,
        texts=caption_texts,
    )


_SETS = ("rsicd.caption", "rsitmd.caption", "ucm.caption", "sydney.caption")
BENCHMARKS = [_benchmark(benchmark) for benchmark in captions.BENCHMARKS if benchmark.name in _SETS]
