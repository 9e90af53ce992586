"""A whole run: recipe -> data, tokenizer, model -> its stages in order -> run folder."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from skyeye.config.load import quick_recipe, recipe_to_yaml
from skyeye.config.schema import Recipe
from skyeye.data.files import write_json, write_whole
from skyeye.data.preflight import load_recipe_to_run
from skyeye.launch import check_launch, rank
from skyeye.models.build import check_model
from skyeye.train.checkpoint.resume import (
    Position,
    changed_data,
    changed_settings,
    clear_logs,
    find_position,
    trim_logs,
)
from skyeye.train.checkpoint.state import state_folders
from skyeye.train.context import Evaluator, RunContext
from skyeye.train.guards.guards import record_event
from skyeye.train.guards.interrupt import REQUEUE, Interrupt
from skyeye.train.hooks import asked_to_stop
from skyeye.train.monitor.background import CHORES, BackgroundTracker
from skyeye.train.monitor.trackers import check_trackers, start_trackers
from skyeye.train.parallel.distributed import check_strategy, print_once, shut_down
from skyeye.train.precision import with_precision
from skyeye.train.run_lock import claimed
from skyeye.train.setup import RunSetup, prepare_model, setup_run
from skyeye.train.stages import run_stage


def train(
    recipe_path: str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    quick: bool = False,
    evaluator: Evaluator | None = None,
) -> Path | None:
    """Run all stages of a recipe, or go on where an interrupted run stopped.

    Args:
        evaluator: what scores the benchmarks that ``eval.every`` asks for.

    Returns:
        The exported model of the last stage, or None when the run was interrupted (its state is saved).

    Raises:
        SystemExit: with :data:`REQUEUE`, when it was SIGTERM or SIGUSR1 that interrupted the run.
    """
    check_launch()
    recipe = load_recipe_to_run(recipe_path, overrides)
    if quick:
        recipe = quick_recipe(recipe)
    for stage in recipe.stages:
        check_strategy(recipe.run, stage)
    check_trackers(recipe.run)
    interrupt = Interrupt()
    with claimed(Path(recipe.folder)):
        recipe = with_precision(recipe, Path(recipe.folder) / "recipe.yaml" if resume else None)
        finished = _run(recipe, resume, evaluator, interrupt)
    if finished:
        last = Path(recipe.folder) / "checkpoints" / recipe.stages[-1].name
        print_once(f"trained model: {last}")
        return last
    words = [str(recipe_path), *overrides, *(["--quick"] if quick else []), "--resume"]
    what = "and saved" if state_folders(Path(recipe.folder)) else "before the first step: there is no state yet"
    print_once(f"stopped {what}; go on with: skyeye train {shlex.join(words)}")
    if interrupt.requeue:
        raise SystemExit(REQUEUE)
    return None


def _run(recipe: Recipe, resume: bool, evaluator: Evaluator | None, interrupt: Interrupt) -> bool:
    """What is left of the run in its folder; whether it was finished."""
    folder = Path(recipe.folder)
    changed = None
    if resume and (folder / "recipe.yaml").is_file():
        changed = changed_settings(folder / "recipe.yaml", recipe_to_yaml(recipe))
        for line in changed:
            print_once(f"changed since the run was started: {line}")
    names = [stage.name for stage in recipe.stages]
    position = find_position(folder, names, resume)
    print_once(f"run folder {folder}")
    if position.stage == len(names):  # a launcher that starts every process again may come too late
        print_once("all stages of this run are finished")
        return True
    context = _prepare(recipe, position, resume, changed, evaluator, interrupt)
    with interrupt:
        accelerator, finished = _run_stages(context, position)
    if context.tracker is not None:
        context.tracker.finish()
    shut_down(accelerator)
    CHORES.finish()  # after the others have been let go
    return finished


def _prepare(
    recipe: Recipe,
    position: Position,
    resume: bool,
    changed: Sequence[str] | None,
    evaluator: Evaluator | None,
    interrupt: Interrupt,
) -> RunContext:
    """Data, run folder, model and tracker.

    Args:
        changed: settings that differ from those a run to resume was started with; None: it has not been started yet.
    """
    check_model(recipe.model)  # before hours go into reading data
    folder, recipe_yaml, setup = Path(recipe.folder), recipe_to_yaml(recipe), setup_run(recipe)
    stage = setup.stages[position.stage]
    exported = folder / "checkpoints" / setup.stages[stage.number - 1].name if stage.number else None
    if rank() == 0:
        setup.look_at_files()
    news = changed_data(folder, setup.manifest, position.state, exported) if resume else []
    for line in news:
        print_once(f"changed since the run was started: {line}")
    if rank() == 0:
        if resume:
            trim_logs(folder, stage.name, position.step)
        else:
            clear_logs(folder)
    model, processor = prepare_model(setup, exported)
    if rank() == 0:  # only now: a model that cannot be built leaves no folder behind
        write_run_folder(folder, recipe_yaml, setup)
        if changed is not None:
            record_event(folder, "resumed", changed=[*changed, *news])
    tracker = None
    if rank() == 0 and (recipe.run.wandb != "off" or recipe.run.tensorboard):
        tracker = BackgroundTracker(CHORES, lambda: start_trackers(recipe.run, recipe.name, folder, setup.manifest))
    return RunContext(folder, recipe_yaml, setup, model, processor, recipe.eval, evaluator, interrupt, tracker)


def _run_stages(context: RunContext, position: Position) -> tuple[Accelerator, bool]:
    """Run the stages from ``position`` on: the last one's Accelerator, and whether all were finished."""
    stages = context.setup.stages
    for stage in stages[position.stage :]:
        begin = position if stage.number == position.stage else Position(stage.number)
        accelerator, finished = run_stage(context, stage, begin)
        last = stage is stages[-1]
        if not finished or (not last and asked_to_stop(accelerator, context.interrupt)):
            return accelerator, False
    return accelerator, True


def write_run_folder(folder: Path, recipe_yaml: str, setup: RunSetup) -> None:
    """What a reader of the run needs to repeat it: the recipe as resolved, seed, versions, data fingerprint, and every
    record that was skipped."""
    write_whole(folder / "recipe.yaml", recipe_yaml)  # half a recipe would not equal that of a run to resume
    environment = {"python": sys.version.split()[0], "platform": platform.platform(), "command": sys.argv}
    # says which data a run to resume has seen
    write_json(folder / "environment.json", {**environment, **setup.manifest}, indent=1)
    write_whole(folder / "skipped.txt", (f"{line}\n" for line in setup.data.skipped))
