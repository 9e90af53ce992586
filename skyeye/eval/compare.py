"""Two results side by side, question by question: is the difference more than chance?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from skyeye.data.files import write_json, write_whole
from skyeye.data.formats.base.json_lines import iter_json_lines
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.answers import Matched, Prediction, match, read_predictions
from skyeye.eval.answers.boxes import box_of, in_notation
from skyeye.eval.benchmarks import BENCHMARKS, Benchmark, select
from skyeye.eval.benchmarks.conditions import BenchmarkRun
from skyeye.eval.metrics import Scores
from skyeye.eval.metrics.base import Statistic
from skyeye.eval.metrics.bootstrap import Difference, mcnemar, paired
from skyeye.eval.question import with_question
from skyeye.eval.report import comparison, comparison_markdown, not_alike
from skyeye.eval.results import Answer, BenchmarkResult, EvalResults, read_scores
from skyeye.eval.score import Rows, images_of, rounded, rows_of, score_run
from skyeye.eval.score_predictions import DECODING, answers_of

NOT_SAID = "not known: the file does not say it"
#: Files of predictions hold no vectors, so what compares these cannot be scored from them.
_VECTORS = frozenset(name for name, benchmark in BENCHMARKS.items() if benchmark.output == "embedding")
_COUNT_ERROR, _OF_BOTH = "count_error", "of the questions that both answered with a number"


@dataclass(frozen=True)
class Answered:
    """Answers to compare.

    Attributes:
        name: for tables: the checkpoint, or the prediction file.
        files: benchmark -> prediction file.
        data_root: where its data lay, if that is known.
        decoding: benchmark -> how the answers were made.
        notation: how its answers write boxes; None: as this project does.
        scored: ``skyeye eval`` wrote the files, with the boxes that it read beside the answers.
    """

    name: str
    files: dict[str, Path]
    data_root: str | None
    decoding: Mapping[str, str]
    notation: str | None = None
    scored: bool = False


@dataclass(frozen=True)
class _Side:
    """What one of the two says to the records that both have answered.

    Attributes:
        answered: how many records of the benchmark it has answered in all.
        questions: what stood beside the answers; None where nothing did.
    """

    of: Answered
    answered: int
    answers: list[Answer]
    questions: list[str | None]
    scores: Scores


@dataclass(frozen=True)
class _Compared:
    """One benchmark: its part of ``compare.json``; of each side the result and the rows."""

    part: dict[str, Any]
    differences: dict[str, Difference]
    results: list[BenchmarkResult]
    rows: list[Rows]


def answered(path: Path, benchmark: str | None, notation: str | None = None) -> Answered:
    """A folder that ``skyeye eval`` wrote, or the prediction file of one benchmark.

    Args:
        notation: how boxes are written in a prediction file; of a folder ``scores.json`` says it.

    Raises:
        SkyEyeError: neither of both, or no such notation.
    """
    in_notation(notation)
    if path.is_file():
        if benchmark is None:
            raise SkyEyeError("is a prediction file", where=str(path), remedy="say of what: --benchmark NAME")
        name = select([benchmark])[0].name
        return Answered(str(path), {name: path}, None, {name: DECODING}, notation)
    if not (path / "scores.json").is_file():
        remedy = "give a folder that `skyeye eval` wrote (CHECKPOINT/eval), or a prediction file"
        raise SkyEyeError("holds no scores.json", where=str(path), remedy=remedy)
    results = read_scores(path / "scores.json")
    files = {name: path / "predictions" / f"{name}.jsonl" for name in results.benchmarks}
    decoding = {name: result.protocol.decoding for name, result in results.benchmarks.items()}
    about = results.about
    return Answered(about["checkpoint"], files, about.get("data_root"), decoding, about.get("notation"), scored=True)


def compare(a: Answered, b: Answered, data_root: Path, out_dir: Path) -> dict[str, Any]:
    """Compare on every benchmark that both have answered, on the records that both have answered.

    Args:
        data_root: where the data lie.
        out_dir: for ``compare.json``, ``compare.md`` and ``compare.html``.

    Returns:
        The content of ``compare.json``: benchmark -> ``metrics`` (a, b, difference b - a, low, high, p), ``counts``,
        ``mcnemar`` where answers are right or wrong, ``asked`` (of a and of b: question, decoding, metric, number of
        records that it has answered) and ``warnings``: where these are not the same. The question is that of the first
        record of which the two were asked differently, else that of the first record. ``notes`` say what in the files
        was left out or taken off.

    Raises:
        SkyEyeError: they have nothing in common, or the data cannot be read.
    """
    common = [name for name in a.files if name in b.files and name not in _VECTORS]
    if not common:
        remedy = f"{a.name}: {', '.join(a.files)}; {b.name}: {', '.join(b.files)}"
        raise SkyEyeError("the two have no benchmark of words in common", where="compare", remedy=remedy)
    compared = {benchmark.name: _one(benchmark, (a, b), data_root) for benchmark in select(common)}
    differences = {name: of.differences for name, of in compared.items()}
    both = [
        EvalResults({name: of.results[side] for name, of in compared.items()}, {"checkpoint": who.name})
        for side, who in enumerate((a, b))
    ]
    rows = [{name: {"seen": of.rows[side]} for name, of in compared.items()} for side in (0, 1)]
    content = {name: of.part for name, of in compared.items()}
    content["about"] = {"a": a.name, "b": b.name, "data_root": str(data_root)}
    write_json(out_dir / "compare.json", content, indent=1)
    write_whole(out_dir / "compare.md", comparison_markdown(*both, differences))
    write_whole(out_dir / "compare.html", comparison(*both, differences, *rows))
    return content


def _one(benchmark: Benchmark, both: tuple[Answered, Answered], data_root: Path) -> _Compared:
    records, skipped = benchmark.load(data_root, "keep")
    read = [_read(of, benchmark, records) for of in both]
    places = [i for i in range(len(records)) if all(answers[i] is not None for answers, _, _ in read)]
    if not places:
        raise SkyEyeError(
            f"the two have answered no record of {benchmark.name} in common", where=str(data_root), remedy="check ids"
        )
    kept = [records[i] for i in places]
    sides = [
        _side(of, benchmark, kept, places, answers, questions)
        for of, (answers, questions, _) in zip(both, read, strict=True)
    ]
    counted = _errors_of_both([side.scores for side in sides])
    other = _asked_otherwise(sides)
    run = BenchmarkRun(benchmark, kept, benchmark.max_new_tokens, skipped=skipped)
    results = [_result(run, side, other[0] if other else 0, counted) for side in sides]
    differences = {
        name: Difference(*(rounded(number) for number in asdict(of).values()))
        for name, of in paired(sides[0].scores, sides[1].scores, images_of(kept)).items()
    }
    right = mcnemar(*([item["correct"] for item in side.scores.items] for side in sides))
    neither = sum(x is None and y is None for x, y in zip(*(answers for answers, _, _ in read), strict=True))
    part = {
        "metrics": {name: asdict(of) for name, of in differences.items()},
        "counts": _counts(sides, neither, len(other), counted),
        "mcnemar": None if right is None else asdict(right),
        "asked": {letter: _asked(result) for letter, result in zip("ab", results, strict=True)},
        "warnings": not_alike(*results),
        "notes": [f"{of.name}: {note}" for of, (_, _, notes) in zip(both, read, strict=True) for note in notes],
    }
    return _Compared(part, differences, results, [_rows(side, kept) for side in sides])


def _side(
    of: Answered,
    benchmark: Benchmark,
    kept: Sequence[Record],
    places: Sequence[int],
    answers: Sequence[Answer | None],
    questions: Sequence[str | None],
) -> _Side:
    said = [answers[i] for i in places]
    in_all = sum(answer is not None for answer in answers)
    return _Side(of, in_all, said, [questions[i] for i in places], benchmark.metric(kept, said))


def _asked_otherwise(sides: Sequence[_Side]) -> list[int]:
    """Places of the records of which the two were asked differently, as far as that is known."""
    pairs = zip(*(side.questions for side in sides), strict=True)
    return [i for i, (x, y) in enumerate(pairs) if None not in (x, y) and x != y]


def _result(run: BenchmarkRun, side: _Side, shown: int, counted: int | None) -> BenchmarkResult:
    """The result of one side, with the question of the record ``shown`` as it was asked there."""
    result, _ = score_run(run, {"seen": side.answers}, side.of.decoding[run.benchmark.name])
    metric = result.protocol.metric + ("" if counted is None else f"; {_COUNT_ERROR}: {_OF_BOTH}")
    protocol = replace(result.protocol, question=side.questions[shown] or NOT_SAID, metric=metric)
    return replace(result, protocol=protocol, counts={**result.counts, "records": side.answered})


def _counts(sides: Sequence[_Side], neither: int, other: int, counted: int | None) -> dict[str, int]:
    compared = len(sides[0].answers)
    return {
        "compared": compared,
        "answered by a alone": sides[0].answered - compared,
        "answered by b alone": sides[1].answered - compared,
        "answered by neither": neither,
        "other question": other,
        **({} if counted is None else {f"{_COUNT_ERROR} of both": counted}),
    }


def _rows(side: _Side, kept: Sequence[Record]) -> Rows:
    asked = [with_question(r, q) if q else r for r, q in zip(kept, side.questions, strict=True)]
    return rows_of(asked, side.answers, side.scores)


def _asked(result: BenchmarkResult) -> dict[str, Any]:
    protocol = {key: getattr(result.protocol, key) for key in ("question", "decoding", "metric")}
    return {**protocol, "records": result.counts["records"]}


def _errors_of_both(scores: Sequence[Scores]) -> int | None:
    """Let the error of counts rest on the questions that both answered with a number, so that it is of the same ones.

    Returns:
        How many these are; None where there is no such metric.
    """
    errors = [of.statistics.get(_COUNT_ERROR) for of in scores]
    if None in errors:
        return None
    counted = errors[0].rows[:, 1:] * errors[1].rows[:, 1:]  # rows: the error, and whether there is one
    for of, error in zip(scores, errors, strict=True):
        of.statistics[_COUNT_ERROR] = Statistic(error.rows * counted, error.value)
    return int(counted.sum())


def _read(
    of: Answered, benchmark: Benchmark, records: Sequence[Record]
) -> tuple[list[Answer | None], list[str | None], list[str]]:
    """One answer a record, None where the file has none, or several; the question that the file has beside it; and what
    has to be told about the file."""
    file = of.files[benchmark.name]
    predictions, problems = read_predictions(file)
    if problems:
        remedy = "mend the file; `skyeye eval score` lists everything that is wrong with it"
        raise SkyEyeError(
            f"{len(problems)} lines cannot be read; the first: {problems[0]}", where=str(file), remedy=remedy
        )
    matched = match(predictions, records)
    answers, _ = answers_of(matched.answers, records, benchmark, of.notation)
    asked = _questions(file)
    if of.scored and benchmark.output == "boxes":
        answers = _with_boxes(answers, match(_said(predictions, _boxes(file)), records).answers)
    return answers, match(_said(predictions, asked), records).answers, _told(matched, predictions)


def _said(predictions: Sequence[Prediction], other: Mapping[str, str]) -> list[Prediction]:
    """The predictions beside which something else stands, with that in the place of the answer."""
    return [replace(p, answer=other[p.where]) for p in predictions if p.where in other]


def _with_boxes(answers: Sequence[Answer | None], written: Sequence[str | None]) -> list[Answer | None]:
    """Answers with the boxes that were read when they were scored."""
    return [
        replace(answer, boxes=tuple(box_of(box) for box in json.loads(boxes))) if answer and boxes else answer
        for answer, boxes in zip(answers, written, strict=True)
    ]


def _told(matched: Matched, predictions: Sequence[Prediction]) -> list[str]:
    counted = {
        "records with different answers, which are left out": len(matched.double),
        "records with the same answer several times": len(matched.repeated),
        "ids that belong to no record": len(matched.unknown),
        "answers without traces of an output format that they had": sum(bool(p.traces) for p in predictions),
    }
    return [f"{count:,} {what}" for what, count in counted.items() if count]


def _boxes(file: Path) -> dict[str, str]:
    """Place in a file that ``skyeye eval`` wrote -> the boxes that it read in the answer, as JSON."""
    lines = ((where, row.get("boxes")) for where, row in iter_json_lines(file) if isinstance(row, dict))
    return {where: json.dumps(boxes) for where, boxes in lines if isinstance(boxes, list)}


def _questions(file: Path) -> dict[str, str]:
    """Place in the file -> the question there; nothing of a file that is not one object a line."""
    try:
        lines = list(iter_json_lines(file))
    except SkyEyeError:  # a list: the programs that write one write no question
        return {}
    found = {where: row.get("question") for where, row in lines if isinstance(row, dict)}
    return {where: text for where, text in found.items() if isinstance(text, str) and text}
