"""What is asked of a benchmark: its records under every condition (seen, shuffled images, shuffled phrases)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from skyeye.data.formats.base.problems import Problem
from skyeye.data.record import Record
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.controls import shuffle_images, shuffle_phrases
from skyeye.eval.question import with_question
from skyeye.eval.settings import EvalSettings

Condition = Literal["seen", "shuffled_images", "shuffled_phrases"]
#: Those beside the questions as they are.
CONTROLS: tuple[Condition, ...] = ("shuffled_images", "shuffled_phrases")


@dataclass(frozen=True)
class BenchmarkRun:
    """A benchmark laid out to be asked: its records under every condition.

    Attributes:
        seen: the questions as they are.
        max_new_tokens: longest answer asked for.
        shuffled_images: the same with wrong images; None when all show the same image, or without controls.
        shuffled_phrases: the questions that could be given the words of another object, with those words; None where
            words choose no object, or without controls.
        shuffled_phrases_indices: which of ``seen`` they are.
        texts: what the pictures are compared with where embeddings are; they stand behind the records of every
            condition and are not scored themselves.
        skipped: what could not be asked.
        odd_answers: what has to be told about the answers, counted by kind (of a file: missing, unknown, double ...).
        notes: what has to be told beside what the metric says.
    """

    benchmark: Benchmark
    seen: list[Record]
    max_new_tokens: int
    shuffled_images: list[Record] | None = None
    shuffled_phrases: list[Record] | None = None
    shuffled_phrases_indices: list[int] = field(default_factory=list)
    texts: list[Record] = field(default_factory=list)
    skipped: list[Problem] = field(default_factory=list)
    odd_answers: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def conditions(self) -> dict[Condition, list[Record]]:
        """The conditions that are asked, with everything that is asked in them."""
        every: dict[Condition, list[Record] | None] = {
            "seen": self.seen,
            "shuffled_images": self.shuffled_images,
            "shuffled_phrases": self.shuffled_phrases,
        }
        return {name: [*records, *self.texts] for name, records in every.items() if records}


def prepare(benchmark: Benchmark, data_root: Path, settings: EvalSettings) -> BenchmarkRun:
    """Load a benchmark and lay out its conditions; the same on every machine for the same data and seed."""
    prompt = settings.prompts.get(benchmark.name)
    own_words = prompt if benchmark.texts is None else None
    records, problems = benchmark.load(data_root, settings.missing_images, own_words)
    whole_images = benchmark.chosen is not None or benchmark.expand is not None
    seen = limited(records, settings.limit, settings.seed, by_scene=whole_images)
    texts: list[Record] = []
    if benchmark.texts is not None:
        texts, seen = benchmark.texts(seen, prompt), [with_question(record, "") for record in seen]
    seed, indices, phrases, images = f"{settings.seed} {benchmark.drawn_as or benchmark.name}", [], None, None
    if settings.controls:
        images = shuffle_images(seen, seed) if settings.images else None
        if benchmark.chosen is not None:
            indices, phrases = shuffle_phrases(seen, benchmark.chosen, seed)
    own_length = settings.max_new_tokens is None or benchmark.texts is not None
    longest = benchmark.max_new_tokens if own_length else settings.max_new_tokens
    return BenchmarkRun(benchmark, seen, longest, images, phrases or None, indices, texts, problems)


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
