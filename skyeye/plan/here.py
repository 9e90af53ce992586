"""How long a run will take on this machine, from a few of its own steps."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from skyeye.config.load import recipe_to_yaml
from skyeye.config.schema import Recipe
from skyeye.data.files import write_whole
from skyeye.run_log import read_log
from skyeye.train.run import train
from skyeye.train.setup import setup_run

#: Steps of each stage that are measured; the first, which warms up, does not count.
MEASURED = 5


def time_here(recipe: Recipe) -> dict[str, Any]:
    """Train a few steps of every stage in a folder that is thrown away, and reckon with all of them.

    Neither samples nor benchmarks are reckoned with, nor that other work may come or go.

    Returns:
        ``stages``: name, steps and seconds a step of each; ``start``: seconds of reading data, building and exporting;
        ``minutes``: of the whole run.

    Raises:
        SkyEyeError: as for training.
    """
    silent = redirect_stdout(StringIO()), redirect_stderr(StringIO())
    with tempfile.TemporaryDirectory(prefix="skyeye-time-") as folder, silent[0], silent[1]:
        planned = setup_run(recipe).stages
        written = Path(folder) / "recipe.yaml"
        write_whole(written, recipe_to_yaml(_short(recipe, Path(folder) / "run")))
        began = time.perf_counter()
        train(written)
        took = time.perf_counter() - began
        log = read_log(Path(folder) / "run" / "log.jsonl")
    seconds = {stage.name: [line["step_seconds"] for line in log if line["stage"] == stage.name] for stage in planned}
    stages = [{"stage": s.name, "steps": s.steps, "step_seconds": _usual(seconds[s.name])} for s in planned]
    start = max(0.0, took - sum(map(sum, seconds.values())))
    total = start + sum(stage["steps"] * stage["step_seconds"] for stage in stages)
    return {"stages": stages, "start": start, "minutes": total / 60}


def format_time(found: dict[str, Any]) -> str:
    """What :func:`time_here` found, as text."""
    lines = [f"  {s['stage']}: {s['steps']:,} steps of {s['step_seconds']:.2f} s" for s in found["stages"]]
    minutes = max(1, round(found["minutes"]))
    lines.append(f"training will take about {minutes} min here, measured on a few steps of each stage")
    return "\n".join(lines)


def _usual(seconds: Sequence[float]) -> float:
    return statistics.median(seconds[1:] or seconds)


def _short(recipe: Recipe, folder: Path) -> Recipe:
    """The same run with a few steps a stage, every one of them written down, and nothing besides."""
    stages = []
    for stage in recipe.stages:
        optimizer = replace(stage.optimizer, warmup_steps=0)
        stages.append(replace(stage, steps=MEASURED, epochs=None, optimizer=optimizer))
    quiet = {"samples_every": None, "samples_source": None, "wandb": "off", "tensorboard": False}
    run = replace(recipe.run, dir=str(folder), log_every=1, checkpoint_every=10**6, **quiet)
    return replace(recipe, stages=stages, run=run, eval=replace(recipe.eval, every=None, choose=None))
