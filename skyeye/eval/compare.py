"""Two results side by side, question by question: is the difference more than chance?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skyeye.data.files import write_json, write_whole
from skyeye.data.formats.common import load_json
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import Benchmark, select
from skyeye.eval.predictions import match, read_predictions
from skyeye.eval.report import comparison, comparison_markdown
from skyeye.eval.resampling import mcnemar, paired
from skyeye.eval.rescore import in_our_notation
from skyeye.eval.score import images_of, rounded, rows_of, score_task
from skyeye.eval.tasks import Task


@dataclass(frozen=True)
class Answered:
    """Answers to compare.

    Attributes:
        name: for tables: the checkpoint, or the prediction file.
        files: benchmark -> prediction file.
        data_root: where its data lay, if that is known.
        prompts: benchmark -> what was asked instead of the benchmark's prompt.
    """

    name: str
    files: dict[str, Path]
    data_root: str | None
    prompts: Mapping[str, str]


def answered(path: Path, benchmark: str | None) -> Answered:
    """A folder that ``skyeye eval`` wrote, or the prediction file of one benchmark.

    Raises:
        SkyEyeError: neither of both.
    """
    if path.is_file():
        if benchmark is None:
            raise SkyEyeError("is a prediction file", where=str(path), remedy="say of what: --benchmark NAME")
        return Answered(str(path), {select([benchmark])[0].name: path}, None, {})
    if not (path / "scores.json").is_file():
        remedy = "give a folder that `skyeye eval` wrote (CHECKPOINT/eval), or a prediction file"
        raise SkyEyeError("holds no scores.json", where=str(path), remedy=remedy)
    scores = load_json(path / "scores.json", dict)
    about = scores.pop("about")
    files = {name: path / "predictions" / f"{name}.jsonl" for name in scores}
    return Answered(about["checkpoint"], files, about.get("data_root"), about.get("prompts") or {})


def compare(a: Answered, b: Answered, data_root: Path, out_dir: Path, notation: str | None = None) -> dict[str, Any]:
    """Compare on every benchmark that both have answered, on the records that both have answered.

    Args:
        data_root: where the data lie.
        out_dir: for ``compare.json``, ``compare.md`` and ``compare.html``.
        notation: how boxes are written in the answers of prediction files from elsewhere.

    Returns:
        The content of ``compare.json``: benchmark -> ``metrics`` (a, b, difference b - a, low, high, p), ``counts`` and
        ``mcnemar`` where answers are right or wrong.

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
    asked = {of.prompts.get(benchmark.name) for of in both}
    records, left_out = benchmark.load(data_root, "keep", asked.pop() if len(asked) == 1 else None)
    given = [_answers(of.files[benchmark.name], records, notation) for of in both]
    places = [i for i in range(len(records)) if all(answers[i] is not None for answers in given)]
    if not places:
        raise SkyEyeError(
            f"the two have answered no record of {benchmark.name} in common", where=str(data_root), remedy="check ids"
        )
    kept = [records[i] for i in places]
    answers = [[said[i] for i in places] for said in given]
    scores = [benchmark.metric(kept, said) for said in answers]
    task = Task(benchmark, kept, None, None, [], left_out, benchmark.max_new_tokens)
    entries = [score_task(task, {"seen": said}, "as compared")[0] for said in answers]
    metrics = {
        name: {key: rounded(value) for key, value in asdict(difference).items()}
        for name, difference in paired(*scores, images_of(kept)).items()
    }
    counts = {
        "compared": len(kept),
        "answered by a alone": sum(said is not None for said in given[0]) - len(kept),
        "answered by b alone": sum(said is not None for said in given[1]) - len(kept),
        "answered by neither": sum(x is None and y is None for x, y in zip(*given, strict=True)),
        "other prompt": int(len(asked) > 1),
    }
    seen = [rows_of(kept, said, of) for said, of in zip(answers, scores, strict=True)]
    right = mcnemar(*([item["correct"] for item in of.items] for of in scores))
    result = {"metrics": metrics, "counts": counts, "mcnemar": None if right is None else asdict(right)}
    return result, entries, seen


def _answers(file: Path, records: Sequence[Record], notation: str | None) -> list[str | None]:
    """One answer a record; None where the file has none, or several."""
    predictions, problems = read_predictions(file)
    if problems:
        remedy = "mend the file; `skyeye eval score` lists everything that is wrong with it"
        raise SkyEyeError(
            f"{len(problems)} lines cannot be read; the first: {problems[0]}", where=str(file), remedy=remedy
        )
    return in_our_notation(match(predictions, records).answers, records, notation)
