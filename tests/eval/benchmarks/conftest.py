"""Small folders in the published layouts, for formats of which no real sample is at hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skyeye.data.formats import read_with_problems
from skyeye.data.record import Record
from skyeye.eval.benchmarks import BENCHMARKS
from skyeye.eval.score_predictions import answers_of


@pytest.fixture
def write() -> Callable[[Path, Any], None]:
    """Writes a text, or a value as JSON."""

    def write(path: Path, content: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    return write


@pytest.fixture
def load(written) -> Callable[..., list[Record]]:
    """(name, data root) -> records of a benchmark, in MiniGPT-v2's words, from which nothing is skipped.

    They are asked in the words that the reader, and so training, begins with.
    """

    def load(name: str, root: Path, missing_images: str = "stop") -> list[Record]:
        benchmark = BENCHMARKS[name]
        records, problems = benchmark.load(root, missing_images)
        assert not [problem for problem in problems if not problem.by_rule]
        if missing_images != "keep":
            own, _ = read_with_problems(benchmark.source(root), name)
            own = [record.turns[0].question for record in own if benchmark.keep(record)]
            assert [record.turns[0].question for record in records] == own
        return [written(record) for record in records]

    return load


@pytest.fixture
def score(without_java) -> Callable[..., float]:
    """(name, records, answers) -> value of the main metric."""

    def score(name: str, records: list[Record], answers: list[str]) -> float:
        benchmark = BENCHMARKS[name]
        given, _ = answers_of(answers, records, benchmark, None)
        return benchmark.metric(records, given).metrics[benchmark.main_metric]

    return score
