"""The files of a scored evaluation: predictions, scores.json, tables and page."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from skyeye.data.files import write_whole
from skyeye.data.formats import summary
from skyeye.data.formats.base.image_folder import ABSENT
from skyeye.data.prompts import PromptStyle
from skyeye.eval.benchmarks import BENCHMARKS
from skyeye.eval.benchmarks.conditions import CONTROLS, BenchmarkRun
from skyeye.eval.files import library_versions, write_jsonl
from skyeye.eval.metrics.captions import default_scorer
from skyeye.eval.question import PROTOCOL_STYLE
from skyeye.eval.report import latex, markdown, report
from skyeye.eval.results import Answer, BenchmarkResult, EvalResults, write_scores
from skyeye.eval.score import Given, Rows, score_run
from skyeye.generation.answerers.base import greedy_words

UNITS = "percent, CIDEr x 100; count_error in objects (less is better)"


def write_results(
    runs: Sequence[BenchmarkRun],
    answers: Mapping[str, Given],
    out_dir: Path,
    about: Mapping[str, Any],
    started: float,
    decoding: Callable[[int], str] = greedy_words,
    style: PromptStyle = PROTOCOL_STYLE,
) -> EvalResults:
    """Score and write ``predictions/``, ``scores.json``, ``scores.md``, ``scores.tex`` and ``report.html``.

    Prediction files of an earlier run that are not written now go to ``predictions/earlier/``.

    Args:
        answers: benchmark -> condition -> one answer a record; None where there is none, which is no line of a file.
        about: goes into ``scores.json``.
        started: when the work began, in seconds since the epoch.
        decoding: longest answer in tokens -> how the answers were made.
        style: of the model that was asked.
    """
    benchmarks: dict[str, BenchmarkResult] = {}
    predictions: dict[str, dict[str, Rows]] = {}
    files: set[str] = set()
    for run in runs:
        name = run.benchmark.name
        how = "none: cosines of pictures and texts" if run.texts else decoding(run.max_new_tokens)
        if not about.get("images", True):
            how += ", without the images"
        benchmarks[name], predictions[name] = score_run(run, answers[name], how, style)
        files |= _write_predictions(out_dir / "predictions", run, predictions[name], answers[name])
    _move_away(out_dir / "predictions", files)
    results = EvalResults(benchmarks, {**about, **about_scoring(started)})
    write_scores(out_dir / "scores.json", results)
    write_whole(out_dir / "scores.md", markdown(results))
    write_whole(out_dir / "scores.tex", latex(results))
    write_whole(out_dir / "report.html", report(results, predictions))
    return results


def about_scoring(started: float) -> dict[str, Any]:
    """When and with what the numbers were made."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "units": UNITS,
        "caption_tokenizer": default_scorer().tokenizer,
        "versions": library_versions(),
    }


def _write_predictions(folder: Path, run: BenchmarkRun, rows: Mapping[str, Rows], answers: Given) -> set[str]:
    """Write what was answered and what was skipped of one benchmark; the names of the files."""
    name, files = run.benchmark.name, {}
    if run.skipped:
        tqdm.write(summary(run.skipped, name))
        files[f"{name}.skipped.jsonl"] = [vars(problem) for problem in run.skipped]
    for condition, of in rows.items():
        file = f"{name}.jsonl" if condition == "seen" else f"{name}.{condition}.jsonl"
        files[file] = _lines(of, answers[condition])
    for file, lines in files.items():
        write_jsonl(folder / file, lines)
    return set(files)


def _lines(rows: Rows, answers: Sequence[Answer | None]) -> Rows:
    """The lines of a prediction file: of what was answered, with absent images as the annotation names them."""
    return [
        {**row, "images": [image.removeprefix(ABSENT) for image in row["images"]]}
        for row, answer in zip(rows, answers[: len(rows)], strict=True)  # behind them the texts of a comparison
        if answer is not None
    ]


def _move_away(folder: Path, written: Collection[str]) -> None:
    """Leave only what was written of the files that an evaluation writes, so that they and ``scores.json`` agree."""
    kinds = ("", *(f".{condition}" for condition in CONTROLS), ".skipped")
    ours = {f"{name}{kind}.jsonl" for name in BENCHMARKS for kind in kinds}
    old = sorted(path for path in folder.glob("*.jsonl") if path.name in ours and path.name not in written)
    for path in old:
        (folder / "earlier").mkdir(exist_ok=True)
        path.replace(folder / "earlier" / path.name)
    if old:
        tqdm.write(f"{len(old)} prediction files of an earlier run were moved to {folder / 'earlier'}")
