"""Benchmarks scored while a model is trained: the recipe's, with the model as it is, by all processes together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyeye.config.schema import EvalConfig
from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import select
from skyeye.eval.benchmarks.conditions import prepare
from skyeye.eval.evaluate import launched, model_answerer, run_tasks, used_prompts
from skyeye.eval.metrics import LOWER_IS_BETTER
from skyeye.eval.verdict import metrics_of

if TYPE_CHECKING:
    from skyeye.models.modeling import SkyEyeForConditionalGeneration
    from skyeye.models.processing import SkyEyeProcessor


class Examination:
    """The benchmarks of a recipe, read once, to be asked again and again.

    Args:
        settings: with ``every``; of each benchmark the same ``every_limit`` records are asked every time.

    Raises:
        SkyEyeError: an unknown benchmark, data that cannot be used, or a metric to choose by that there is not.
    """

    def __init__(self, settings: EvalConfig):
        self.settings, self.process = settings, launched()
        chosen = select(settings.benchmarks)
        prompts = used_prompts({}, settings.prompts, [benchmark.name for benchmark in chosen])
        self.tasks = [
            prepare(
                benchmark,
                Path(settings.data_root),
                settings.every_limit,
                controls=False,
                missing_images=settings.missing_images,
                prompt=prompts.get(benchmark.name),
            )
            for benchmark in chosen
        ]
        if settings.choose is not None:
            self._check_choice([benchmark.name for benchmark in chosen])

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
            "limit": self.settings.every_limit,
            "batch_size": self.settings.batch_size,
            "data_root": self.settings.data_root,
            "seed": 0,
            **about,
        }
        answerer = model_answerer(model, processor, self.settings.batch_size)
        scores = run_tasks(answerer, self.tasks, out_dir, about, answers=out_dir / "answers", process=self.process)
        if scores is None:
            return None
        return {
            f"{task.benchmark.name}/{metric}": value["value"]
            for task in self.tasks
            for metric, value in metrics_of(scores[task.benchmark.name]).items()
            if value["value"] is not None
        }

    @property
    def better(self) -> Callable[[float, float], bool]:
        """Whether the first of two values of ``eval.choose`` is the better one."""
        lower = self.settings.choose.split("/", 1)[1] in LOWER_IS_BETTER
        return (lambda a, b: a < b) if lower else (lambda a, b: a > b)

    def _check_choice(self, names: list[str]) -> None:
        name, metric = self.settings.choose.split("/", 1)
        if name not in names:
            raise SkyEyeError(
                f"{name} is not among the benchmarks", where="eval.choose", remedy=f"asked: {', '.join(names)}"
            )
        task = next(task for task in self.tasks if task.benchmark.name == name)
        known = task.benchmark.metric(task.seen, [""] * len(task.seen)).metrics
        if metric not in known:
            raise SkyEyeError(f"{name} has no {metric}", where="eval.choose", remedy=f"it has {', '.join(known)}")
