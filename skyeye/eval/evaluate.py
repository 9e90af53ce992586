"""Evaluation of a checkpoint: benchmarks -> answers under every condition -> predictions, scores and report."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from skyeye.data.files import check_new_folder
from skyeye.data.hub import local_path
from skyeye.data.prompts import PromptStyle
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.boxes import read_boxes
from skyeye.eval.answers.store import ALONE, Answerer, AnswerStore, Process
from skyeye.eval.benchmarks import Benchmark, chosen_benchmarks, select
from skyeye.eval.benchmarks.conditions import BenchmarkRun, prepare
from skyeye.eval.files import PROCESSOR, checkpoint_fingerprint, fingerprint_with_base, origin
from skyeye.eval.question import PROTOCOL_STYLE
from skyeye.eval.results import Answer, EvalResults
from skyeye.eval.settings import EvalSettings
from skyeye.eval.write import write_results
from skyeye.generation.opening import kinds_given
from skyeye.launch import check_launch, rank, world_size

PATIENCE = 1800.0  # seconds that process 0 waits for another answer of the others
_USUAL = EvalSettings()


def evaluate(
    checkpoint: str | Path,
    benchmarks: Sequence[str],
    data_root: str | Path,
    out_dir: str | Path,
    settings: EvalSettings = _USUAL,
    *,
    suite: str | None = None,
) -> EvalResults | None:
    """Score a checkpoint directory on benchmarks and write everything into ``out_dir``.

    Under a launcher (``torchrun``) every process answers its share; they do not wait for each other. Process 0 collects
    the answers, scores and writes. An evaluation that was killed goes on where it was when it is started again.

    Args:
        checkpoint: what :func:`skyeye.models.pretrained.open_checkpoint` opens.
        benchmarks: names, or ``synth.*`` for a family.
        data_root: folder of the synthetic scenes, or the folder that holds the data sets.
        settings: how they are asked.
        suite: name of a list of benchmarks; those whose data are not there are told and skipped.

    Returns:
        What was written to ``scores.json``; None in the processes other than 0.

    Raises:
        SkyEyeError: unknown benchmark, data or checkpoint that cannot be used, or nothing can be written to
            ``out_dir``; nothing is asked before all are read.
    """
    checkpoint, root, process = Path(checkpoint), Path(data_root), launched()
    if settings.missing_images == "keep":
        raise SkyEyeError("a model cannot answer about an image that is not there", where="missing_images")
    chosen, not_there = chosen_benchmarks(benchmarks, suite, root)
    if process.rank == 0:
        for name, reason in not_there.items():
            tqdm.write(f"{name} of suite {suite} is skipped: {reason}")
    checkpoint = local_path(checkpoint) or checkpoint
    unsuited = refuse_what_it_does_not_give(chosen, benchmarks, kinds_given(checkpoint, settings.opening), checkpoint)
    for name, reason in unsuited.items():
        if process.rank == 0:
            tqdm.write(f"{name} of suite {suite} is skipped: {reason}")
    chosen, not_there = [b for b in chosen if b.name not in unsuited], {**not_there, **unsuited}
    settings = with_prompts_of(settings, chosen, not_there)
    if not checkpoint.is_file() and not (checkpoint / "config.json").is_file():
        raise SkyEyeError(
            "holds no config.json, so it is no checkpoint directory",
            where=str(checkpoint),
            remedy="give a folder like runs/NAME/checkpoints/STAGE",
        )
    check_new_folder(out_dir)
    runs = [prepare(benchmark, root, settings) for benchmark in chosen]
    about = _about(checkpoint, settings) | {"data_root": str(data_root), "not_there": not_there}
    answerer, style, of_model = load_answerer(checkpoint, settings)
    key = _answers_key(checkpoint, about["fingerprint"], of_model)
    if not settings.images:
        answerer, key = without_images(answerer), f"{key}-no-images"
    about |= {"processes": process.world_size, **of_model}
    answers = Path(out_dir) / "answers" / key
    return run_benchmarks(answerer, runs, Path(out_dir), about, answers=answers, process=process, style=style)


def refuse_what_it_does_not_give(
    chosen: Sequence[Benchmark], named: Sequence[str], kinds: Collection[str], checkpoint: Path
) -> dict[str, str]:
    """name -> why it cannot be asked, for benchmarks of a suite that score what the model does not give.

    Args:
        named: the benchmarks that were asked for by name.
        kinds: what the model gives (:func:`skyeye.generation.opening.kinds_given`).

    Raises:
        SkyEyeError: one of them was named, or none is left.
    """
    wrong = [b for b in chosen if ("embedding" if b.output == "embedding" else "text") not in kinds]
    of_name = {benchmark.name for benchmark in (select(named) if named else ())}
    gives = "compares pictures with texts" if kinds == {"embedding"} else "answers in words"
    if one := next((b for b in wrong if b.name in of_name), None):
        other = "*.retrieval and *.zero_shot" if kinds == {"embedding"} else "the others of skyeye eval list"
        what = f"benchmark {one.name} scores {one.output}, and this model {gives}"
        raise SkyEyeError(what, where=str(checkpoint), remedy=f"ask {other}")
    if chosen and len(wrong) == len(chosen):
        raise SkyEyeError(f"no benchmark of the suite is for a model that {gives}", where=str(checkpoint))
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


def _about(checkpoint: Path, settings: EvalSettings) -> dict[str, Any]:
    return {
        "checkpoint": str(checkpoint),
        **origin(checkpoint),
        "fingerprint": fingerprint_with_base(checkpoint, settings.opening),
        "seed": settings.seed,
        "limit": settings.limit,
        "images": settings.images,
        "batch_size": settings.batch_size,
        "missing_images": settings.missing_images,
        "prompts": dict(settings.prompts),
    }


def _answers_key(checkpoint: Path, weights: str, of_model: Mapping[str, Any]) -> str:
    """Name of the folder for the answers of this model alone."""
    words = checkpoint_fingerprint(checkpoint, PROCESSOR)
    how = f"{of_model['dtype']}-{of_model['prompt_layout']}"
    return f"{weights[:16]}-{words[:8]}-{how}" + ("-adapters" if of_model["adapters_beside"] else "")


def load_answerer(checkpoint: Path, settings: EvalSettings) -> tuple[Answerer, PromptStyle, dict[str, Any]]:
    """The model of a checkpoint as a function from questions to answers, its words, and what to say about it."""
    # here, so that wrong names and missing data are told at once
    from skyeye.generation.answer import open_to_answer, open_to_embed

    two_towers = open_to_embed(checkpoint, settings.opening)
    model, processor = two_towers or open_to_answer(checkpoint, settings.opening)
    layout = "none" if two_towers else processor.builder.prompt_config.evaluation_layout
    return (
        model_answerer(model, processor, settings.batch_size),
        style_of(processor),
        {
            "parameters": model.num_parameters(),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "prompt_layout": layout,
            "adapters_beside": two_towers is None and model.config.lora is not None,
        },
    )


def style_of(processor: Any) -> PromptStyle:
    """How the model of a processor writes; of one that writes nothing, that of the paper."""
    from skyeye.models.processing import SkyEyeProcessor

    return processor.builder.style if isinstance(processor, SkyEyeProcessor) else PROTOCOL_STYLE


def model_answerer(model: Any, processor: Any, batch_size: int) -> Answerer:
    """A model in evaluation mode as a function from questions to answers: texts, or where no token is allowed the
    vector of the picture or text."""
    from skyeye.generation.answer import answers_as_ready
    from skyeye.generation.embed import embeddings_as_ready

    def answerer(records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        if max_new_tokens == 0:
            vectors = embeddings_as_ready(model, processor, records, batch_size)
            return ((index, Answer(embedding=vector)) for index, vector in vectors)
        cut: set[int] = set()
        ready = answers_as_ready(
            model, processor, records, batch_size=batch_size, max_new_tokens=max_new_tokens, cut=cut
        )
        return ((index, Answer(text, cut=index in cut)) for index, text in ready)

    return answerer


def without_images(answerer: Answerer) -> Answerer:
    """An answerer that is not shown the images of the records."""

    def blind(records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        return answerer([replace(record, images=()) for record in records], max_new_tokens)

    return blind


def run_benchmarks(
    answerer: Answerer,
    runs: Sequence[BenchmarkRun],
    out_dir: Path,
    about: Mapping[str, Any],
    *,
    answers: Path,
    process: Process = ALONE,
    patience: float = PATIENCE,
    together: bool = False,
    style: PromptStyle = PROTOCOL_STYLE,
) -> EvalResults | None:
    """Have everything answered, then (process 0) write predictions, scores and report.

    Args:
        answers: folder for the answers while they are given; of this model alone.
        patience: seconds that a process waits for another answer of other processes.
        together: no process returns before all have answered, into a folder that was empty. Else only process 0 waits.
        style: of the model: how it writes boxes.

    Returns:
        What ``scores.json`` holds; None in the processes other than 0.
    """
    started = time.time()
    with AnswerStore(answers, process) as store:
        reused = _ask(store, answerer, runs)
        if together:
            store.wait_for_all(patience)
        if process.rank > 0:
            return None
        if reused:
            tqdm.write(f"{reused:,} questions were answered in an earlier run of the same model ({answers})")
        if store.broken:
            lines = "1 line" if store.broken == 1 else f"{store.broken:,} lines"
            tqdm.write(f"{lines} of {store.folder} cannot be read; what was answered there was asked again")
        given = {run.benchmark.name: _collect(store, run, patience, style) for run in runs}
    return write_results(runs, given, out_dir, about, started, style=style)


def _ask(store: AnswerStore, answerer: Answerer, runs: Sequence[BenchmarkRun]) -> int:
    """Have the share of this process answered; how many answers were there from an earlier run."""
    total = sum(len(records) for run in runs for records in run.conditions.values())
    reused = 0
    with _progress(total, store.process) as (describe, advance):
        for run in runs:
            for condition, records in run.conditions.items():
                describe(f"{run.benchmark.name} ({condition})")
                reused += store.ask(answerer, records, run.max_new_tokens, advance)
    return reused


def _collect(store: AnswerStore, run: BenchmarkRun, patience: float, style: PromptStyle) -> dict[str, list[Answer]]:
    """condition -> the answers of all processes, with their boxes where boxes are scored."""
    given = {}
    for condition, records in run.conditions.items():
        answers = store.collect(records, run.max_new_tokens, patience)
        given[condition] = (
            read_boxes(records, answers, style.read_boxes) if run.benchmark.output == "boxes" else answers
        )
    return given


@contextmanager
def _progress(total: int, process: Process) -> Iterator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """A bar in process 0 over its share: (say what is asked, tell how many more are answered)."""
    share = -(-total // process.world_size)  # an estimate: questions about one image stay together
    unit = "answer" if process.world_size == 1 else f"answer of 1/{process.world_size}"
    options = {"smoothing": 0.05, "mininterval": 0.5, "dynamic_ncols": True}
    # leave=None: below the bar of a training run it goes when it is full
    with tqdm(total=share, unit=unit, leave=None, disable=process.rank > 0, **options) as bar:
        yield bar.set_description, bar.update
