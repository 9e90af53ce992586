"""What is asked in an evaluation: a benchmark's records under every condition (seen, blind, deaf)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from skyeye.data.formats.common import Problem
from skyeye.data.record import Record
from skyeye.eval.benchmarks import Benchmark
from skyeye.eval.benchmarks import controls as control
from skyeye.eval.benchmarks.base import MissingImages


@dataclass(frozen=True)
class Task:
    """A benchmark with its records under every condition.

    Attributes:
        seen: the questions as they are.
        blind: the same with wrong images; None when all show the same image, or without controls.
        deaf: the questions that could be given the words of another object, with those words; None where words choose
            no object, or without controls.
        deaf_indices: which of ``seen`` they are.
        left_out: what could not be asked.
        max_new_tokens: longest answer asked for.
        answers: what has to be told about the answers, counted by kind (of a file: missing, unknown, double ...).
    """

    benchmark: Benchmark
    seen: list[Record]
    blind: list[Record] | None
    deaf: list[Record] | None
    deaf_indices: list[int]
    left_out: list[Problem]
    max_new_tokens: int
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def conditions(self) -> dict[str, list[Record]]:
        every = {"seen": self.seen, "blind": self.blind, "deaf": self.deaf}
        return {name: records for name, records in every.items() if records}


def prepare(
    benchmark: Benchmark,
    data_root: Path,
    limit: int | None = None,
    controls: bool = True,
    seed: int = 0,
    *,
    missing_images: MissingImages = "leave-out",
    prompt: str | None = None,
    max_new_tokens: int | None = None,
) -> Task:
    """Load a benchmark and lay out its conditions; the same on every machine for the same data and seed."""
    records, problems = benchmark.load(data_root, missing_images, prompt)
    seen = limited(records, limit, seed, by_scene=benchmark.chosen is not None)
    deaf_indices, deaf = [], None
    if controls and benchmark.chosen is not None:
        deaf_indices, deaf = control.deaf(seen, benchmark.chosen, f"{seed} {benchmark.name}")
    blind = control.blind(seen, f"{seed} {benchmark.name}") if controls else None
    longest = benchmark.max_new_tokens if max_new_tokens is None else max_new_tokens
    return Task(benchmark, seen, blind, deaf or None, deaf_indices, problems, longest)


def limited(records: list[Record], limit: int | None, seed: int, by_scene: bool) -> list[Record]:
    """At most ``limit`` records, drawn with the seed, in their old order; ``by_scene`` draws whole images."""
    if limit is None or limit >= len(records):
        return records
    rng = random.Random(f"limit {seed}")
    if by_scene:
        scenes = list(dict.fromkeys(record.images for record in records))
        rng.shuffle(scenes)
        rank = {scene: place for place, scene in enumerate(scenes)}
        order = sorted(range(len(records)), key=lambda i: rank[records[i].images])
    else:
        order = rng.sample(range(len(records)), len(records))
    return [records[i] for i in sorted(order[:limit])]
