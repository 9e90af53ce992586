"""Scene classification by texts alone: AID, NWPU-RESISC45 and the other sets whose folders are the classes."""

from __future__ import annotations

from collections.abc import Sequence

from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.eval import metrics
from skyeye.eval.benchmarks import scenes
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.words import ZERO_SHOT

#: SkyCLIP's.
TEMPLATES = ("a satellite photo of {}.", "a satellite image of {}")


def class_texts(records: Sequence[Record], template: str | None) -> list[Record]:
    """Every class in every template, or in somebody's own, with ``{}`` where the class belongs.

    Raises:
        SkyEyeError: the own one has no place for the class.
    """
    if template is not None and template.count("{}") != 1:
        raise SkyEyeError("must hold {} once, for the class", where=f"prompt {template!r}", remedy=f"as {TEMPLATES[0]}")
    classes = records[0].references["classes"]
    return [
        Record(
            id=f"class {name} {number}",
            source=records[0].source,
            task="classification",
            split="test",
            images=(),
            turns=(Turn(words.replace("{}", name.lower()), name, "classification"),),
            references={"class": name},
        )
        for name in classes
        for number, words in enumerate(TEMPLATES if template is None else (template,))
    ]


def _benchmark(of: Benchmark) -> Benchmark:
    return Benchmark(
        of.name.replace(".scene", ".zero_shot"),
        of.title.replace("scene classification", "zero-shot classification"),
        "zero_shot",
        of.source,
        metrics.zero_shot,
        "accuracy",
        0,
        ZERO_SHOT,
        output="embedding",
        needs_images=True,
        texts=class_texts,
    )


BENCHMARKS = [_benchmark(benchmark) for benchmark in scenes.BENCHMARKS]
