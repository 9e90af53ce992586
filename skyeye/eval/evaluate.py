"""Evaluation of a checkpoint: benchmarks -> answers (seen, blind, deaf) -> predictions, scores and report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from skyeye.data.files import write_json, write_whole
from skyeye.data.formats import summary
from skyeye.data.formats.images import ABSENT
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.store import ALONE, Answerer, AnswerStore, Process
from skyeye.eval.benchmarks import BENCHMARKS, chosen_benchmarks, select
from skyeye.eval.benchmarks.base import MissingImages
from skyeye.eval.benchmarks.conditions import Task, prepare
from skyeye.eval.files import PROCESSOR, fingerprint, origin, versions, write_jsonl
from skyeye.eval.metrics.captions import default_scorer
from skyeye.eval.report import latex, markdown, report
from skyeye.eval.score import Rows, score_task

if TYPE_CHECKING:  # torch is imported only once names and data are known to be right
    from skyeye.models.modeling import SkyEyeForConditionalGeneration
    from skyeye.models.processing import SkyEyeProcessor

UNITS = "percent, CIDEr x 100; count_error in objects (less is better)"
PATIENCE = 1800.0  # seconds that process 0 waits for another answer of the others


def evaluate(
    checkpoint: str | Path,
    benchmarks: Sequence[str],
    data_root: str | Path,
    out_dir: str | Path,
    *,
    suite: str | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    controls: bool = True,
    max_new_tokens: int | None = None,
    prompts: Mapping[str, str] | None = None,
    recipe_prompts: Mapping[str, str] | None = None,
    missing_images: MissingImages = "leave-out",
    seed: int = 0,
    device: str | None = None,
) -> dict[str, Any] | None:
    """Score a checkpoint directory on benchmarks and write everything into ``out_dir``.

    Under a launcher (``torchrun``) every process answers its share; they do not wait for each other. Process 0 collects
    the answers, scores and writes. An evaluation that was killed goes on where it was when it is started again.

    Args:
        checkpoint: directory that ``save_pretrained`` wrote, with the processor.
        benchmarks: names, or ``world.*`` for a family.
        data_root: folder of the made world, or the folder that holds the data sets.
        suite: name of a list of benchmarks; those whose data are not there are told and left out.
        limit: records per benchmark at most, drawn with ``seed``; whole scenes where there is a deaf control.
        batch_size: changes speed and memory only.
        controls: also ask blind and deaf.
        max_new_tokens: longest answer; None: what each benchmark says.
        prompts: benchmark -> what is asked instead of its own prompt.
        recipe_prompts: the same where ``prompts`` say nothing; those of benchmarks that are not asked are passed over.
        missing_images: what becomes of records whose image is missing or broken.
        seed: of the permutations of the controls and of ``limit``.
        device: ``"cpu"``, ``"cuda"`` ...; None: a GPU when there is one.

    Returns:
        The content of ``scores.json``; None in the processes other than 0.

    Raises:
        SkyEyeError: unknown benchmark, data or checkpoint that cannot be used; nothing is asked before all are read.
    """
    checkpoint, root, process = Path(checkpoint), Path(data_root), launched()
    if missing_images == "keep":
        raise SkyEyeError("a model cannot answer about an image that is not there", where="missing_images")
    chosen, not_there = chosen_benchmarks(benchmarks, suite, root)
    if process.rank == 0:
        for name, reason in not_there.items():
            tqdm.write(f"{name} of suite {suite} is left out: {reason}")
    asked = [benchmark.name for benchmark in chosen]
    prompts = used_prompts(prompts or {}, recipe_prompts or {}, asked, not_there)
    if not (checkpoint / "config.json").is_file():
        raise SkyEyeError(
            "holds no config.json, so it is no checkpoint directory",
            where=str(checkpoint),
            remedy="give a folder like runs/NAME/checkpoints/STAGE",
        )
    tasks = [
        prepare(
            benchmark,
            root,
            limit,
            controls,
            seed,
            missing_images=missing_images,
            prompt=prompts.get(benchmark.name),
            max_new_tokens=max_new_tokens,
        )
        for benchmark in chosen
    ]
    about = {
        "checkpoint": str(checkpoint),
        **origin(checkpoint),
        "fingerprint": fingerprint(checkpoint),
        "seed": seed,
        "limit": limit,
        "batch_size": batch_size,
        "data_root": str(data_root),
        "missing_images": missing_images,
        "prompts": prompts,
        "not_there": not_there,
        "processes": process.world_size,
    }
    answerer, more = load_answerer(checkpoint, batch_size, device)
    about |= more
    key = (
        f"{about['fingerprint'][:16]}-{fingerprint(checkpoint, PROCESSOR)[:8]}-{more['dtype']}-{more['prompt_layout']}"
    )
    return run_tasks(answerer, tasks, Path(out_dir), about, answers=Path(out_dir) / "answers" / key, process=process)


def launched() -> Process:
    """The process of this evaluation under a launcher that sets RANK and WORLD_SIZE; else the only one."""
    return Process(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def used_prompts(
    prompts: Mapping[str, str], recipe_prompts: Mapping[str, str], asked: Sequence[str], not_there: Collection[str] = ()
) -> dict[str, str]:
    """Benchmark -> what is asked instead of its prompt, of the benchmarks that are asked.

    Args:
        prompts: given for this evaluation, by names that :func:`skyeye.eval.benchmarks.select` knows.
        recipe_prompts: of a recipe, likewise; it may have more benchmarks than are asked now. ``prompts`` win.
        asked: names of the benchmarks.
        not_there: those of the suite that are left out.

    Raises:
        SkyEyeError: an unknown name, or one of ``prompts`` is for nothing that was to be asked.
    """
    for name in prompts:
        if not any(benchmark.name in (*asked, *not_there) for benchmark in select([name])):
            raise SkyEyeError(
                f"there is a prompt for {name}, which is not asked",
                where="prompts",
                remedy=f"asked: {', '.join(asked)}",
            )
    both = [*recipe_prompts.items(), *prompts.items()]
    by_name = {benchmark.name: prompt for name, prompt in both for benchmark in select([name])}
    return {name: prompt for name, prompt in by_name.items() if name in asked}


def load_answerer(checkpoint: Path, batch_size: int, device: str | None) -> tuple[Answerer, dict[str, Any]]:
    """The model of a checkpoint as a function from questions to answers, and what to say about it."""
    from skyeye.eval.generate import open_to_answer  # here, so that wrong names and missing data are told at once

    model, processor = open_to_answer(checkpoint, device)
    return model_answerer(model, processor, batch_size), {
        "parameters": model.num_parameters(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "prompt_layout": processor.builder.prompt_config.evaluation_layout,
    }


def model_answerer(model: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor, batch_size: int) -> Answerer:
    """A model in evaluation mode as a function from questions to answers."""
    from skyeye.eval.generate import answers_as_ready

    def answerer(records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, str]]:
        return answers_as_ready(model, processor, records, batch_size=batch_size, max_new_tokens=max_new_tokens)

    return answerer


def run_tasks(
    answerer: Answerer,
    tasks: Sequence[Task],
    out_dir: Path,
    about: dict[str, Any],
    *,
    answers: Path,
    process: Process = ALONE,
    patience: float = PATIENCE,
) -> dict[str, Any] | None:
    """Have everything answered, then (process 0) write predictions, scores and report.

    Args:
        answers: folder for the answers while they are given; of this model alone.
        patience: seconds that process 0 waits for another answer of other processes.

    Returns:
        What ``scores.json`` holds; None in the processes other than 0.
    """
    started = time.time()
    lists = [(task, condition, records) for task in tasks for condition, records in task.conditions.items()]
    with AnswerStore(answers, process) as store:
        with _progress(sum(len(records) for *_, records in lists), process) as (say, told):
            reused = 0
            for task, condition, records in lists:
                say(f"{task.benchmark.name} ({condition})")
                reused += store.ask(answerer, records, task.max_new_tokens, told)
        if process.rank > 0:
            return None
        if reused:
            tqdm.write(f"{reused:,} questions were answered in an earlier run of the same model ({answers})")
        _tell_broken(store)
        given = [store.collect(records, task.max_new_tokens, patience) for task, _, records in lists]
    by_task: dict[str, dict[str, list[str]]] = {task.benchmark.name: {} for task in tasks}
    for (task, condition, _), said in zip(lists, given, strict=True):
        by_task[task.benchmark.name][condition] = said
    return write_results(tasks, by_task, out_dir, about, started)


def _tell_broken(store: AnswerStore) -> None:
    if store.broken:
        lines = "1 line" if store.broken == 1 else f"{store.broken:,} lines"
        tqdm.write(f"{lines} of {store.folder} cannot be read; what was answered there was asked again")


def write_results(
    tasks: Sequence[Task],
    answers: Mapping[str, Mapping[str, Sequence[str | None]]],
    out_dir: Path,
    about: dict[str, Any],
    started: float,
    decoding: str | None = None,
) -> dict[str, Any]:
    """Score and write ``predictions/``, ``scores.json``, ``scores.md``, ``scores.tex`` and ``report.html``.

    Prediction files of an earlier run that are not written now go to ``predictions/earlier/``.

    Args:
        answers: benchmark -> condition -> one answer a record; None where there is none, which is no line of a file.
        about: goes into ``scores.json``.
        started: when the work began, in seconds since the epoch.
        decoding: how the answers were made; None: by this package.
    """
    scores: dict[str, Any] = {}
    predictions: dict[str, dict[str, Rows]] = {}
    folder, files = out_dir / "predictions", set()
    for task in tasks:
        name = task.benchmark.name
        if task.left_out:
            tqdm.write(summary(task.left_out, name))
            files.add(f"{name}.skipped.jsonl")
            write_jsonl(folder / f"{name}.skipped.jsonl", [vars(p) for p in task.left_out])
        how = decoding or f"greedy, one beam, at most {task.max_new_tokens} new tokens, asked once"
        scores[name], predictions[name] = score_task(task, answers[name], how)
        for condition, rows in predictions[name].items():
            file = f"{name}.jsonl" if condition == "seen" else f"{name}.{condition}.jsonl"
            files.add(file)
            write_jsonl(folder / file, _lines(rows, answers[name][condition]))
    _move_away(folder, files)
    scores["about"] = {**about, **about_scoring(started)}
    write_json(out_dir / "scores.json", scores, indent=1)
    write_whole(out_dir / "scores.md", markdown(scores))
    write_whole(out_dir / "scores.tex", latex(scores))
    write_whole(out_dir / "report.html", report(scores, predictions))
    return scores


def _lines(rows: Rows, answers: Sequence[str | None]) -> Rows:
    """The lines of a prediction file: of what was answered, with absent images as the annotation names them."""
    return [
        {**row, "images": [image.removeprefix(ABSENT) for image in row["images"]]}
        for row, answer in zip(rows, answers, strict=True)
        if answer is not None
    ]


def _move_away(folder: Path, written: Collection[str]) -> None:
    """Leave only what was written of the files that an evaluation writes, so that they and ``scores.json`` agree."""
    ours = {f"{name}{kind}.jsonl" for name in BENCHMARKS for kind in ("", ".blind", ".deaf", ".skipped")}
    old = sorted(path for path in folder.glob("*.jsonl") if path.name in ours and path.name not in written)
    for path in old:
        (folder / "earlier").mkdir(exist_ok=True)
        path.replace(folder / "earlier" / path.name)
    if old:
        tqdm.write(f"{len(old)} prediction files of an earlier run were moved to {folder / 'earlier'}")


def about_scoring(started: float) -> dict[str, Any]:
    """When and with what the numbers were made."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "units": UNITS,
        "caption_tokenizer": default_scorer().tokenizer,
        "versions": versions(),
    }


@contextmanager
def _progress(total: int, process: Process) -> Iterator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """A bar in process 0 over its share: (say what is asked, tell how many more are answered)."""
    share = -(-total // process.world_size)  # an estimate: questions about one image stay together
    unit = "answer" if process.world_size == 1 else f"answer of 1/{process.world_size}"
    options = {"smoothing": 0.05, "mininterval": 0.5, "dynamic_ncols": True}
    # leave=None: below the bar of a training run it goes when it is full
    with tqdm(total=share, unit=unit, leave=None, disable=process.rank > 0, **options) as bar:
        yield bar.set_description, bar.update
