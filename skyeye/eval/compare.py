"""Two results side by side, question by question: is the difference more than chance?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from skyeye.data.files import write_json, write_whole
from skyeye.data.formats.common import load_json
from skyeye.data.formats.json_lines import iter_json_lines
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.answers import match, read_predictions
from skyeye.eval.benchmarks import Benchmark, select
from skyeye.eval.benchmarks.conditions import Task
from skyeye.eval.benchmarks.controls import with_question
from skyeye.eval.metrics import Scores
from skyeye.eval.metrics.base import Statistic
from skyeye.eval.metrics.bootstrap import mcnemar, paired
from skyeye.eval.report import comparison, comparison_markdown, not_alike
from skyeye.eval.score import images_of, rounded, rows_of, score_task
from skyeye.eval.score_predictions import DECODING, in_our_notation

NOT_SAID = "not known: the file does not say it"
_COUNT_ERROR, _OF_BOTH = "count_error", "of the questions that both answered with a number"


@dataclass(frozen=True)
class Answered:
    """Answers to compare.

    Attributes:
        name: for tables: the checkpoint, or the prediction file.
        files: benchmark -> prediction file.
        data_root: where its data lay, if that is known.
        decoding: benchmark -> how the answers were made.
    """

    name: str
    files: dict[str, Path]
    data_root: str | None
    decoding: Mapping[str, str]


def answered(path: Path, benchmark: str | None) -> Answered:
    """A folder that ``skyeye eval`` wrote, or the prediction file of one benchmark.

    Raises:
        SkyEyeError: neither of both.
    """
    if path.is_file():
        if benchmark is None:
            raise SkyEyeError("is a prediction file", where=str(path), remedy="say of what: --benchmark NAME")
        name = select([benchmark])[0].name
        return Answered(str(path), {name: path}, None, {name: DECODING})
    if not (path / "scores.json").is_file():
        remedy = "give a folder that `skyeye eval` wrote (CHECKPOINT/eval), or a prediction file"
        raise SkyEyeError("holds no scores.json", where=str(path), remedy=remedy)
    scores = load_json(path / "scores.json", dict)
    about = scores.pop("about")
    files = {name: path / "predictions" / f"{name}.jsonl" for name in scores}
    decoding = {name: entry["protocol"]["decoding"] for name, entry in scores.items()}
    return Answered(about["checkpoint"], files, about.get("data_root"), decoding)


def compare(a: Answered, b: Answered, data_root: Path, out_dir: Path, notation: str | None = None) -> dict[str, Any]:
    """Compare on every benchmark that both have answered, on the records that both have answered.

    Args:
        data_root: where the data lie.
        out_dir: for ``compare.json``, ``compare.md`` and ``compare.html``.
        notation: how boxes are written in the answers of prediction files from elsewhere.

    Returns:
        The content of ``compare.json``: benchmark -> ``metrics`` (a, b, difference b - a, low, high, p), ``counts``,
        ``mcnemar`` where answers are right or wrong, ``asked`` (of a and of b: question, decoding, metric, number of
        records that it has answered) and ``warnings``: where these are not the same. The question is that of the first
        record of which the two were asked differently, else that of the first record.

    Raises:
        SkyEyeError: they have nothing in common, or the data cannot be read.
    """
    common = [name for name in a.files if name in b.files]
    if not common:
        remedy = f"{a.name}: {', '.join(a.files)}; {b.name}: {', '.join(b.files)}"
        raise SkyEyeError("the two have no benchmark in common", where="compare", remedy=remedy)
    results: dict[str, Any] = {}
    sides: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    rows: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for benchmark in select(common):
        results[benchmark.name], entries, seen = _one(benchmark, (a, b), data_root, notation)
        for side in (0, 1):
            sides[side][benchmark.name], rows[side][benchmark.name] = entries[side], {"seen": seen[side]}
    about = {"a": a.name, "b": b.name, "data_root": str(data_root)}
    differences = {name: result["metrics"] for name, result in results.items()}
    both = [{**side, "about": {"checkpoint": of.name}} for side, of in zip(sides, (a, b), strict=True)]
    write_json(out_dir / "compare.json", {**results, "about": about}, indent=1)
    write_whole(out_dir / "compare.md", comparison_markdown(*both, differences))
    write_whole(out_dir / "compare.html", comparison(*both, differences, *rows))
    return {**results, "about": about}


def _one(
    benchmark: Benchmark, both: tuple[Answered, Answered], data_root: Path, notation: str | None
) -> tuple[dict[str, Any], list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """One benchmark: its part of ``compare.json``, and of each side the entry of scores.json and the rows."""
    records, left_out = benchmark.load(data_root, "keep")
    given, asked = zip(*(_answers(of.files[benchmark.name], records, notation) for of in both), strict=True)
    places = [i for i in range(len(records)) if all(answers[i] is not None for answers in given)]
    if not places:
        raise SkyEyeError(
            f"the two have answered no record of {benchmark.name} in common", where=str(data_root), remedy="check ids"
        )
    kept = [records[i] for i in places]
    answers = [[said[i] for i in places] for said in given]
    questions = [[of[i] for i in places] for of in asked]
    scores = [benchmark.metric(kept, said) for said in answers]
    counted = _errors_of_both(scores)
    task = Task(benchmark, kept, None, None, [], left_out, benchmark.max_new_tokens)
    entries = [
        score_task(task, {"seen": said}, of.decoding[benchmark.name])[0] for of, said in zip(both, answers, strict=True)
    ]
    other = [i for i, (x, y) in enumerate(zip(*questions, strict=True)) if None not in (x, y) and x != y]
    for entry, said, of in zip(entries, given, questions, strict=True):
        entry["protocol"]["question"] = of[other[0] if other else 0] or NOT_SAID
        entry["protocol"]["metric"] += "" if counted is None else f"; {_COUNT_ERROR}: {_OF_BOTH}"
        entry["counts"]["records"] = sum(answer is not None for answer in said)
    metrics = {
        name: {key: rounded(value) for key, value in asdict(difference).items()}
        for name, difference in paired(*scores, images_of(kept)).items()
    }
    counts = {
        "compared": len(kept),
        "answered by a alone": sum(said is not None for said in given[0]) - len(kept),
        "answered by b alone": sum(said is not None for said in given[1]) - len(kept),
        "answered by neither": sum(x is None and y is None for x, y in zip(*given, strict=True)),
        "other question": len(other),
        **({} if counted is None else {f"{_COUNT_ERROR} of both": counted}),
    }
    seen = [
        rows_of([with_question(r, q) if q else r for r, q in zip(kept, own, strict=True)], said, of)
        for own, said, of in zip(questions, answers, scores, strict=True)
    ]
    right = mcnemar(*([item["correct"] for item in of.items] for of in scores))
    result = {
        "metrics": metrics,
        "counts": counts,
        "mcnemar": None if right is None else asdict(right),
        "asked": {side: _asked(entry) for side, entry in zip("ab", entries, strict=True)},
        "warnings": not_alike(*entries),
    }
    return result, entries, seen


def _asked(entry: Mapping[str, Any]) -> dict[str, Any]:
    protocol = {key: entry["protocol"][key] for key in ("question", "decoding", "metric")}
    return {**protocol, "records": entry["counts"]["records"]}


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


def _answers(file: Path, records: Sequence[Record], notation: str | None) -> tuple[list[str | None], list[str | None]]:
    """One answer a record, None where the file has none, or several; and the question that the file has beside it."""
    predictions, problems = read_predictions(file)
    if problems:
        remedy = "mend the file; `skyeye eval score` lists everything that is wrong with it"
        raise SkyEyeError(
            f"{len(problems)} lines cannot be read; the first: {problems[0]}", where=str(file), remedy=remedy
        )
    answers = in_our_notation(match(predictions, records).answers, records, notation)
    asked = _questions(file)
    questions = [replace(p, answer=asked[p.where]) for p in predictions if p.where in asked]
    return answers, match(questions, records).answers


def _questions(file: Path) -> dict[str, str]:
    """Place in the file -> the question there; nothing of a file that is not one object a line."""
    try:
        lines = list(iter_json_lines(file))
    except SkyEyeError:  # a list: the programs that write one write no question
        return {}
    found = {where: row.get("question") for where, row in lines if isinstance(row, dict)}
    return {where: text for where, text in found.items() if isinstance(text, str) and text}
