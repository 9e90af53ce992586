"""From answers to the numbers of one benchmark, with how they came about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from skyeye.data.prompts import PromptStyle
from skyeye.data.record import Record
from skyeye.eval.benchmarks import Benchmark
from skyeye.eval.benchmarks.conditions import BenchmarkRun
from skyeye.eval.benchmarks.paper import quoted
from skyeye.eval.benchmarks.published import size_note
from skyeye.eval.metrics import Scores
from skyeye.eval.metrics.bootstrap import LEVEL, RESAMPLES, intervals
from skyeye.eval.metrics.captions import default_scorer
from skyeye.eval.near_zero import near_zero
from skyeye.eval.question import PROTOCOL_STYLE, asked
from skyeye.eval.results import Answer, BenchmarkResult, MetricValue, Protocol

Rows = list[dict[str, Any]]
#: condition -> one answer for each of its records; None where there is none.
Given = Mapping[str, Sequence[Answer | None]]

_SILENCE = Answer()


def score_run(
    run: BenchmarkRun, given: Given, decoding: str, style: PromptStyle = PROTOCOL_STYLE
) -> tuple[BenchmarkResult, dict[str, Rows]]:
    """The result of one benchmark, and a row for each record by condition.

    Args:
        given: the answers; None, for no answer, is scored as nothing said.
        decoding: how they were made, for the protocol.
        style: of the model that was asked.
    """
    answers = {condition: said_of(of) for condition, of in given.items()}
    scored = {name: run.benchmark.metric(records, answers[name]) for name, records in run.conditions.items()}
    seen = scored["seen"]
    plain = protocol(run.benchmark, run.seen, seen, decoding, style)
    if run.texts:
        plain = replace(plain, question=f"{len(run.texts):,} texts, the first: {run.texts[0].turns[0].question}")
    how = replace(
        plain,
        notes=(
            *plain.notes,
            *run.notes,
            *near_zero(run.benchmark, run.seen, given["seen"], seen),
            *_cut_off(run, answers["seen"]),
            *_refused(answers["seen"]),
        ),
        shuffled_images="images permuted among the questions, none keeps its own" if run.shuffled_images else None,
        shuffled_phrases=(
            "words permuted among the objects of a scene, no object keeps its own" if run.shuffled_phrases else None
        ),
    )
    asked_about = {name: records[: len(run.seen)] for name, records in run.conditions.items() if name in scored}
    rows = {
        name: rows_of(records, answers[name][: len(records)], scored[name], style)
        for name, records in asked_about.items()
    }
    return BenchmarkResult(_metrics(run, scored, answers["seen"]), _counts(run, seen), how), rows


def _cut_off(run: BenchmarkRun, answers: Sequence[Answer]) -> list[str]:
    """That answers were not at their end, which costs captions their last words and boxes their last number."""
    count = sum(answer.cut for answer in answers)
    if not count:
        return []
    what = f"{count:,} of {len(answers):,} answers were cut off at {run.max_new_tokens} tokens"
    return [f"{what} (--max-new-tokens allows more)"]


def _refused(answers: Sequence[Answer]) -> list[str]:
    """That a server took questions as wrong; they count as answered with nothing."""
    reasons = [answer.refused for answer in answers if answer.refused]
    if not reasons:
        return []
    what = f"{len(reasons):,} of {len(answers):,} questions were refused by the server, and count as wrong"
    return [f"{what}; of the first it says: {reasons[0]}"]


def said_of(answers: Sequence[Answer | None]) -> list[Answer]:
    """Answers, with nothing said where there is none."""
    return [_SILENCE if answer is None else answer for answer in answers]


def _metrics(run: BenchmarkRun, scored: Mapping[str, Scores], answers: Sequence[Answer]) -> dict[str, MetricValue]:
    same = None  # the seen answers to the items whose phrases could be shuffled: what those are compared with
    if run.shuffled_phrases:
        places = run.shuffled_phrases_indices
        same = run.benchmark.metric([run.seen[i] for i in places], [answers[i] for i in places])
    ranges = intervals(scored["seen"], images_of(run.seen))
    metrics = {}
    for name in scored["seen"].metrics:
        low, high = ranges.get(name) or (None, None)
        metrics[name] = MetricValue(
            *(_value(scored.get(condition), name) for condition in ("seen", "shuffled_images", "shuffled_phrases")),
            rounded(low),
            rounded(high),
            _value(same, name),
        )
    return metrics


def images_of(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """What is drawn anew for an interval: questions about the same images are not independent."""
    return [record.images or (record.id,) for record in records]


def rows_of(
    records: Sequence[Record], answers: Sequence[Answer], scores: Scores, style: PromptStyle = PROTOCOL_STYLE
) -> Rows:
    """A row for each record: what was asked and answered, and how it was scored."""
    return [
        {
            "id": record.id,
            "images": list(record.images),
            "question": asked(record, style),
            **_question_boxes(record),
            "answer": answer.text,
            **({} if answer.boxes is None else {"boxes": [list(box) for box in answer.boxes]}),
            **({} if answer.scores is None else {"scores": [round(score, 6) for score in answer.scores]}),
            **item,
        }
        for record, answer, item in zip(records, answers, scores.items, strict=True)
    ]


def _question_boxes(record: Record) -> dict[str, list[list[float]]]:
    """The boxes that the question names, as numbers."""
    boxes = [list(box) for mention in record.turns[0].question_mentions for box in mention.boxes]
    return {"question_boxes": boxes} if boxes else {}


def rounded(value: float | None) -> float | None:
    """As written into files: four digits behind the point, of percent."""
    return None if value is None else round(float(value), 4)


def protocol(
    benchmark: Benchmark,
    records: Sequence[Record],
    scores: Scores,
    decoding: str,
    style: PromptStyle = PROTOCOL_STYLE,
) -> Protocol:
    """What a reader has to know to compare the numbers with others; what was shuffled is not in it."""
    # of a test set whose size is published the tables say themselves how much of it was asked
    note = None if benchmark.published else size_note(benchmark, records)
    return Protocol(
        title=benchmark.title,
        family=benchmark.family,
        main_metric=benchmark.main_metric,
        question=asked(records[0], style),
        decoding=decoding,
        metric=_metric_words(benchmark, scores),
        interval=f"{LEVEL:.0%}, {RESAMPLES:,} bootstrap samples of the images",
        published=benchmark.published,
        quoted=quoted(benchmark),
        notes=(*([] if note is None else [note]), *scores.notes),
    )


def _metric_words(benchmark: Benchmark, scores: Scores) -> str:
    """How the metric is computed; of captions, too, what depends on the machine (Java)."""
    words = benchmark.metric_words
    if "CIDEr" not in scores.statistics:
        return words
    if "METEOR" not in scores.statistics:
        words = words.replace("METEOR, ", "")
    return f"{words}; captions split into words by {default_scorer().tokenizer}"


def _value(scores: Scores | None, metric: str) -> float | None:
    return None if scores is None else rounded(scores.metrics.get(metric))


def _counts(run: BenchmarkRun, scores: Scores) -> dict[str, int]:
    kinds = Counter(problem.kind for problem in run.skipped)
    by_rule = sum(problem.by_rule for problem in run.skipped)
    return {
        "records": len(run.seen),
        **({"questions": run.benchmark.questions(run.seen)} if run.benchmark.expand else {}),
        "images": len({record.images for record in run.seen}),
        "shuffled_phrases items": len(run.shuffled_phrases_indices),
        "skipped": len(run.skipped) - by_rule,
        "skipped by rule": by_rule,
        **{f"skipped: {kind}": number for kind, number in sorted(kinds.items())},
        **{f"answers {kind}": number for kind, number in run.odd_answers.items()},
        **scores.counts,
    }
