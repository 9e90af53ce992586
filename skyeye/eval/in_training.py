"""Benchmarks scored while a model is trained: the recipe's, with the model as it is, by all processes together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyeye.config.schema import EvalConfig
from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import select
from skyeye.eval.benchmarks.conditions import prepare
from skyeye.eval.evaluate import answer_function, launched, run_benchmarks, with_prompts_of
from skyeye.eval.metrics import LOWER_IS_BETTER
from skyeye.eval.results import Answer
from skyeye.eval.settings import EvalSettings

if TYPE_CHECKING:
    from skyeye.models.modeling import SkyEyeForConditionalGeneration
    from skyeye.models.processing import SkyEyeProcessor


class InTrainingEval:
    """The benchmarks of a recipe, read once, to be asked again and again.

    Args:
        config: with ``every``; of each benchmark the same ``every_limit`` records are asked every time.
        timeout_minutes: of the run. A process that has answered its share waits as long for an answer of another; it
            does not wait in a collective operation, which would end the run when a process only takes longer than that.

    Raises:
        SkyEyeError: an unknown benchmark, data that cannot be used, or a metric to choose by that there is not.
    """

    def __init__(self, config: EvalConfig, timeout_minutes: float):
        self.config, self.process, self.patience = config, launched(), 60 * timeout_minutes
        chosen = select(config.benchmarks)
        settings = EvalSettings(
            limit=config.every_limit,
            batch_size=config.batch_size,
            controls=False,
            recipe_prompts=config.prompts,
            missing_images=config.missing_images,
        )
        self.settings = with_prompts_of(settings, chosen)
        self.runs = [prepare(benchmark, Path(config.data_root), self.settings) for benchmark in chosen]
        if config.choose is not None:
            self._check_choice()

    def __call__(
        self,
        model: SkyEyeForConditionalGeneration,
        processor: SkyEyeProcessor,
        out_dir: Path,
        about: dict[str, Any],
    ) -> dict[str, float] | None:
        """Ask everything, and (process 0) write what ``skyeye eval`` writes into ``out_dir``.

        Args:
            model: in evaluation mode.
            about: what was evaluated: stage, step.

        Returns:
            ``benchmark/metric`` -> value; None in the processes other than 0.
        """
        about = {
            "checkpoint": f"{about['stage']}, step {about['step']}",
            "limit": self.settings.limit,
            "batch_size": self.settings.batch_size,
            "data_root": self.config.data_root,
            "seed": self.settings.seed,
            **about,
        }
        from skyeye.generation.answerers.own import own_answerer  # here: it imports torch

        answerer = own_answerer(model, processor, self.settings.batch_size)
        results = run_benchmarks(
            answer_function(answerer),
            self.runs,
            out_dir,
            about,
            answers=out_dir / "answers",
            process=self.process,
            patience=self.patience,
            together=True,
            style=answerer.style,
            decoding=answerer.decoding,
        )
        if results is None:
            return None
        return {
            f"{name}/{metric}": value.value
            for name, result in results.benchmarks.items()
            for metric, value in result.metrics.items()
            if value.value is not None
        }

    @property
    def better(self) -> Callable[[float, float], bool]:
        """Whether the first of two values of ``eval.choose`` is the better one."""
        lower = self.config.choose.split("/", 1)[1] in LOWER_IS_BETTER
        return (lambda a, b: a < b) if lower else (lambda a, b: a > b)

    def _check_choice(self) -> None:
        name, metric = self.config.choose.split("/", 1)
        runs = {run.benchmark.name: run for run in self.runs}
        if name not in runs:
            raise SkyEyeError(
                f"{name} is not among the benchmarks", where="eval.choose", remedy=f"asked: {', '.join(runs)}"
            )
        run = runs[name]
        asked = [*run.seen, *run.texts]
        known = run.benchmark.metric(asked, [Answer(embedding=(1.0,))] * len(asked)).metrics
        if metric not in known:
            raise SkyEyeError(f"{name} has no {metric}", where="eval.choose", remedy=f"it has {', '.join(known)}")
