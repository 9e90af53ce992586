"""Evaluation of whoever answers: benchmarks -> answers under every condition -> predictions, scores and report."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from skyeye.data.files import check_new_folder
from skyeye.data.prompts import PromptStyle
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.boxes import read_boxes, records_as_shown, with_certainty
from skyeye.eval.answers.store import ALONE, AnswerFunction, AnswerStore, Process
from skyeye.eval.benchmarks import Benchmark, chosen_benchmarks, select
from skyeye.eval.benchmarks.conditions import BenchmarkRun, prepare
from skyeye.eval.candidates import Candidate, Ready, candidate
from skyeye.eval.first_look import FirstLook
from skyeye.eval.other_answers import with_box_prompts, with_note_on_boxes, with_room_for_boxes, without_traces
from skyeye.eval.other_style import OtherStyle
from skyeye.eval.question import PROTOCOL_STYLE
from skyeye.eval.results import Answer, EvalResults
from skyeye.eval.settings import EvalSettings
from skyeye.eval.write import write_results
from skyeye.generation.answerers import Answerer
from skyeye.generation.answerers.base import greedy_words
from skyeye.launch import check_launch, rank, world_size

PATIENCE = 1800.0  # seconds that process 0 waits for another answer of the others
_USUAL = EvalSettings()


def evaluate(
    answerer: str | Path,
    benchmarks: Sequence[str],
    data_root: str | Path,
    out_dir: str | Path,
    settings: EvalSettings = _USUAL,
    *,
    suite: str | None = None,
) -> EvalResults | None:
    """Score whoever answers on benchmarks and write everything into ``out_dir``.

    Under a launcher (``torchrun``) every process answers its share; they do not wait for each other. Process 0 collects
    the answers, scores and writes. An evaluation that was killed goes on where it was when it is started again.

    Args:
        answerer: a checkpoint, what :func:`skyeye.models.pretrained.open_checkpoint` opens; ``hf:NAME_OR_FOLDER``, a
            model of transformers; ``openai:URL#MODEL``, a server.
        benchmarks: names, or ``synth.*`` for a family.
        data_root: folder of the synthetic scenes, or the folder that holds the data sets.
        settings: how they are asked.
        suite: name of a list of benchmarks; those whose data are not there are told and skipped.

    Returns:
        What was written to ``scores.json``; None in the processes other than 0.

    Raises:
        SkyEyeError: unknown benchmark, data or answerer that cannot be used, or nothing can be written to
            ``out_dir``; nothing is asked before all are read.
    """
    root, process = Path(data_root), launched()
    if settings.missing_images == "keep":
        raise SkyEyeError("a model cannot answer about an image that is not there", where="missing_images")
    chosen, not_there = chosen_benchmarks(benchmarks, suite, root)
    if process.rank == 0:
        for name, reason in not_there.items():
            tqdm.write(f"{name} of suite {suite} is skipped: {reason}")
    settings = with_prompts_of(settings, chosen, not_there)
    asked = candidate(answerer, settings)
    unsuited = refuse_what_it_does_not_give(chosen, benchmarks, asked)
    for name, reason in unsuited.items():
        if process.rank == 0:
            tqdm.write(f"{name} of suite {suite} is skipped: {reason}")
    chosen, not_there = [one for one in chosen if one.name not in unsuited], {**not_there, **unsuited}
    check_new_folder(out_dir)
    if asked.family is not None:
        settings = with_box_prompts(settings, chosen, asked.family)
    runs = [prepare(benchmark, root, settings) for benchmark in chosen]
    if asked.family is not None:
        runs = with_room_for_boxes(runs, settings)
    about = _about(asked.name, settings) | {"data_root": str(data_root), "not_there": not_there}
    return _ask_ready(asked.open(), runs, Path(out_dir), about, settings, process)


def _ask_ready(
    ready: Ready,
    runs: Sequence[BenchmarkRun],
    out_dir: Path,
    about: dict[str, Any],
    settings: EvalSettings,
    process: Process,
) -> EvalResults | None:
    about |= {"processes": process.world_size, **ready.about}
    answer, key, look = answer_function(ready.answerer), ready.key, None
    if not settings.images:
        answer, key = without_images(answer), f"{key}-no-images"
    if isinstance(ready.style, OtherStyle) and ready.style.name is None:
        look = FirstLook(ready.style, ready.resized, settings.seed)
    elif isinstance(ready.style, OtherStyle):
        about |= {"boxes": ready.style.reading}
        runs = with_note_on_boxes(runs, ready.style.reading)
    return run_benchmarks(
        answer,
        runs,
        out_dir,
        about,
        answers=out_dir / "answers" / key,
        process=process,
        style=ready.style,
        decoding=ready.answerer.decoding,
        look=look,
    )


def refuse_what_it_does_not_give(chosen: Sequence[Benchmark], named: Sequence[str], asked: Candidate) -> dict[str, str]:
    """name -> why it cannot be asked, for benchmarks of a suite that score what the model does not give.

    Args:
        named: the benchmarks that were asked for by name.

    Raises:
        SkyEyeError: one of them was named, or none is left.
    """
    kinds = asked.kinds
    wrong = [b for b in chosen if ("embedding" if b.output == "embedding" else "text") not in kinds]
    of_name = {benchmark.name for benchmark in (select(named) if named else ())}
    gives = "compares pictures with texts" if kinds == {"embedding"} else "answers in words"
    if one := next((b for b in wrong if b.name in of_name), None):
        other = "*.retrieval and *.zero_shot" if kinds == {"embedding"} else "the others of skyeye eval list"
        what = f"benchmark {one.name} scores {one.output}, and this model {gives}"
        raise SkyEyeError(what, where=asked.name, remedy=f"ask {other}")
    if chosen and len(wrong) == len(chosen):
        raise SkyEyeError(f"no benchmark of the suite is for a model that {gives}", where=asked.name)
    return {benchmark.name: f"it scores {benchmark.output}, and the model {gives}" for benchmark in wrong}


def launched() -> Process:
    """The process of this evaluation under a launcher; else the only one.

    Raises:
        SkyEyeError: as :func:`skyeye.launch.check_launch`.
    """
    check_launch()
    return Process(rank(), world_size())


def with_prompts_of(
    settings: EvalSettings, chosen: Sequence[Benchmark], not_there: Collection[str] = ()
) -> EvalSettings:
    """The settings with the prompts of the benchmarks that are asked, by their names, and no others.

    ``prompts`` were given for this evaluation, ``recipe_prompts`` by a recipe, which may have more benchmarks than are
    asked now; both by names that :func:`skyeye.eval.benchmarks.select` knows. ``prompts`` win.

    Args:
        chosen: the benchmarks that are asked.
        not_there: names of those of the suite that are skipped.

    Raises:
        SkyEyeError: an unknown name, or one of ``prompts`` is for nothing that was to be asked.
    """
    asked = [benchmark.name for benchmark in chosen]
    for name in settings.prompts:
        if not any(benchmark.name in (*asked, *not_there) for benchmark in select([name])):
            raise SkyEyeError(
                f"there is a prompt for {name}, which is not asked",
                where="prompts",
                remedy=f"asked: {', '.join(asked)}",
            )
    both = [*settings.recipe_prompts.items(), *settings.prompts.items()]
    by_name = {benchmark.name: prompt for name, prompt in both for benchmark in select([name])}
    prompts = {name: prompt for name, prompt in by_name.items() if name in asked}
    return replace(settings, prompts=prompts, recipe_prompts={})


def _about(name: str, settings: EvalSettings) -> dict[str, Any]:
    return {
        "checkpoint": name,
        "recipe": None,
        "stage": None,
        "step": None,
        "seed": settings.seed,
        "limit": settings.limit,
        "images": settings.images,
        "batch_size": settings.batch_size,
        "missing_images": settings.missing_images,
        "prompts": dict(settings.prompts),
    }


def answer_function(answerer: Answerer) -> AnswerFunction:
    """Whoever answers in texts, as a function from questions to answers."""

    def answer(records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        for index, reply in answerer.answers(records, max_new_tokens):
            yield index, Answer(reply.text, None, None, reply.embedding, reply.cut, None, reply.refused, reply.told)

    return answer


def without_images(answer: AnswerFunction) -> AnswerFunction:
    """The same without the images of the records."""

    def blind(records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        return answer([replace(record, images=()) for record in records], max_new_tokens)

    return blind


def run_benchmarks(
    answer: AnswerFunction,
    runs: Sequence[BenchmarkRun],
    out_dir: Path,
    about: Mapping[str, Any],
    *,
    answers: Path,
    process: Process = ALONE,
    patience: float = PATIENCE,
    together: bool = False,
    style: PromptStyle = PROTOCOL_STYLE,
    decoding: Callable[[int], str] = greedy_words,
    look: FirstLook | None = None,
) -> EvalResults | None:
    """Have everything answered, then (process 0) write predictions, scores and report.

    Args:
        answers: folder for the answers while they are given; of this model alone.
        patience: seconds that a process waits for another answer of other processes.
        together: no process returns before all have answered, into a folder that was empty. Else only process 0 waits.
        style: of the model: how it writes boxes.
        decoding: longest answer in tokens -> how the answers are made.
        look: finds out how the model writes boxes before anything else is asked.

    Returns:
        What ``scores.json`` holds; None in the processes other than 0.
    """
    started = time.time()
    with AnswerStore(answers, process) as store:
        verdict = None if look is None else look(store, answer, runs, patience)
        if verdict is not None:
            runs, about = with_note_on_boxes(runs, str(verdict)), {**about, "boxes": str(verdict)}
        reused = _ask(store, answer, runs)
        if together:
            store.wait_for_all(patience)
        if process.rank > 0:
            return None
        if reused:
            tqdm.write(f"{reused:,} questions were answered in an earlier run of the same model ({answers})")
        if store.broken:
            lines = "1 line" if store.broken == 1 else f"{store.broken:,} lines"
            tqdm.write(f"{lines} of {store.folder} cannot be read; what was answered there was asked again")
        collected = [_collect(store, run, patience, style) for run in runs]
    given = {run.benchmark.name: answers for run, answers in collected}
    return write_results([run for run, _ in collected], given, out_dir, about, started, decoding=decoding, style=style)


def _ask(store: AnswerStore, answer: AnswerFunction, runs: Sequence[BenchmarkRun]) -> int:
    """Have the share of this process answered; how many answers were there from an earlier run."""
    total = sum(len(records) for run in runs for records in run.conditions.values())
    reused = 0
    with _progress(total, store.process) as (describe, advance):
        for run in runs:
            for condition, records in run.conditions.items():
                describe(f"{run.benchmark.name} ({condition})")
                reused += store.ask(answer, records, run.max_new_tokens, advance)
    return reused


def _collect(
    store: AnswerStore, run: BenchmarkRun, patience: float, style: PromptStyle
) -> tuple[BenchmarkRun, dict[str, list[Answer]]]:
    """condition -> the answers of all processes, with their boxes where boxes are scored; and the run with what was
    taken off them, where they are not of this project."""
    given = {}
    for condition, records in run.conditions.items():
        answers = store.collect(records, run.max_new_tokens, patience)
        if isinstance(style, OtherStyle):
            answers, traces = without_traces(answers)
            run = replace(run, odd_answers={**run.odd_answers, **traces}) if condition == "seen" else run
        if run.benchmark.output == "boxes":
            shown = records_as_shown(records) if condition == "shuffled_images" else records
            answers = with_certainty(shown, read_boxes(shown, answers, style.read_boxes), style)
        given[condition] = answers
    return run, given


@contextmanager
def _progress(total: int, process: Process) -> Iterator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """A bar in process 0 over its share: (say what is asked, tell how many more are answered)."""
    share = -(-total // process.world_size)  # an estimate: questions about one image stay together
    unit = "answer" if process.world_size == 1 else f"answer of 1/{process.world_size}"
    options = {"smoothing": 0.05, "mininterval": 0.5, "dynamic_ncols": True}
    # leave=None: below the bar of a training run it goes when it is full
    with tqdm(total=share, unit=unit, leave=None, disable=process.rank > 0, **options) as bar:
        yield bar.set_description, bar.update
