"""From answers to the numbers of one benchmark, with how they came about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from skyeye.data.record import Record
from skyeye.eval.benchmarks import Benchmark
from skyeye.eval.benchmarks.conditions import Task
from skyeye.eval.benchmarks.paper import quoted
from skyeye.eval.benchmarks.published import size_note
from skyeye.eval.metrics import Scores
from skyeye.eval.metrics.bootstrap import LEVEL, RESAMPLES, intervals
from skyeye.eval.metrics.captions import default_scorer

Rows = list[dict[str, Any]]

_KEYS = (("value", "seen"), ("blind", "blind"), ("deaf", "deaf"))


def score_task(
    task: Task, given: Mapping[str, Sequence[str | None]], decoding: str
) -> tuple[dict[str, Any], dict[str, Rows]]:
    """The entry of one benchmark in ``scores.json``, and a row for each record by condition.

    Args:
        given: condition -> one answer for each of its records; None, for no answer, is scored as nothing said.
        decoding: how they were made, for the protocol.
    """
    metric, conditions = task.benchmark.metric, task.conditions
    answers = {condition: [answer or "" for answer in said] for condition, said in given.items()}
    scored = {condition: metric(records, answers[condition]) for condition, records in conditions.items()}
    same = None  # the seen answers to the items that could be asked deaf: what deaf is compared with
    if task.deaf:
        same = metric([task.seen[i] for i in task.deaf_indices], [answers["seen"][i] for i in task.deaf_indices])
    ranges = intervals(scored["seen"], images_of(task.seen))
    entry: dict[str, Any] = {}
    for name in scored["seen"].metrics:
        low, high = ranges.get(name) or (None, None)
        entry[name] = {key: rounded(_value(scored.get(condition), name)) for key, condition in _KEYS}
        entry[name] |= {"low": rounded(low), "high": rounded(high)}
        if same is not None:
            entry[name]["value_on_deaf_items"] = rounded(_value(same, name))
    entry["counts"] = _counts(task, scored["seen"])
    entry["protocol"] = _protocol(task, scored["seen"], decoding)
    rows = {
        condition: rows_of(records, answers[condition], scored[condition]) for condition, records in conditions.items()
    }
    return entry, rows


def images_of(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """What is drawn anew for an interval: questions about the same images are not independent."""
    return [record.images or (record.id,) for record in records]


def rows_of(records: Sequence[Record], answers: Sequence[str], scores: Scores) -> Rows:
    """A row for each record: what was asked and answered, and how it was scored."""
    return [
        {
            "id": record.id,
            "images": list(record.images),
            "question": record.turns[0].question,
            "answer": answer,
            **item,
        }
        for record, answer, item in zip(records, answers, scores.items, strict=True)
    ]


def rounded(value: float | None) -> float | None:
    """As written into files: four digits behind the point, of percent."""
    return None if value is None else round(float(value), 4)


def protocol(benchmark: Benchmark, records: Sequence[Record], scores: Scores, decoding: str) -> dict[str, Any]:
    """What a reader has to know to compare the numbers with others."""
    # of a test set whose size is published the tables say themselves how much of it was asked
    note = None if benchmark.published else size_note(benchmark, records)
    return {
        "title": benchmark.title,
        "family": benchmark.family,
        "main_metric": benchmark.main_metric,
        "question": records[0].turns[0].question,
        "decoding": decoding,
        "metric": _metric_words(benchmark, scores),
        "interval": f"{LEVEL:.0%}, {RESAMPLES:,} bootstrap samples of the images",
        "published": None if benchmark.published is None else benchmark.published._asdict(),
        "quoted": quoted(benchmark),
        "notes": [*([] if note is None else [note]), *scores.notes],
    }


def _metric_words(benchmark: Benchmark, scores: Scores) -> str:
    """How the metric is computed; of captions, too, what depends on the machine (Java)."""
    words = benchmark.metric_words
    if "CIDEr" not in scores.statistics:
        return words
    if "METEOR" not in scores.statistics:
        words = words.replace("METEOR, ", "")
    return f"{words}; captions split into words by {default_scorer().tokenizer}"


def _protocol(task: Task, scores: Scores, decoding: str) -> dict[str, Any]:
    return {
        **protocol(task.benchmark, task.seen, scores, decoding),
        "blind": "images permuted among the questions, none keeps its own" if task.blind else None,
        "deaf": "words permuted among the objects of a scene, no object keeps its own" if task.deaf else None,
    }


def _value(scores: Scores | None, metric: str) -> float | None:
    return None if scores is None else scores.metrics.get(metric)


def _counts(task: Task, scores: Scores) -> dict[str, int]:
    kinds = Counter(problem.kind for problem in task.left_out)
    by_rule = sum(problem.by_rule for problem in task.left_out)
    return {
        "records": len(task.seen),
        "images": len({record.images for record in task.seen}),
        "deaf items": len(task.deaf_indices),
        "left out": len(task.left_out) - by_rule,
        "left out by rule": by_rule,
        **{f"left out: {kind}": number for kind, number in sorted(kinds.items())},
        **{f"answers {kind}": number for kind, number in task.answers.items()},
        **scores.counts,
    }
