"""Benchmarks in the middle of a stage: scores for log and trackers, and the best model so far as an export."""

from __future__ import annotations

import json
import shutil
from typing import Any

import torch
from accelerate.utils import broadcast_object_list

from skyeye.data.files import write_json, write_whole
from skyeye.models.precision import DTYPES
from skyeye.train.checkpoint.export import Exporter
from skyeye.train.context import RunContext
from skyeye.train.guards.watchdog import Watchdog
from skyeye.train.hooks import AnsweringHook
from skyeye.train.monitor.samples import undisturbed
from skyeye.train.setup import PlannedStage


class EvalHook(AnsweringHook):
    """What ``eval.every`` asks for in one stage.

    Results go to ``eval/<stage>-<step>/`` of the run folder, the curve to ``eval/<stage>.jsonl``.

    Args:
        exporter: writes the model to ``checkpoints/<stage>-best/``; all processes call it.
    """

    def __init__(self, context: RunContext, stage: PlannedStage, exporter: Exporter, watchdog: Watchdog):
        settings = context.evaluation
        super().__init__(exporter.prepared.accelerator, watchdog, every=settings.every, steps=stage.steps)
        self.context, self.evaluator, self.settings = context, context.evaluator, settings
        self.folder, self.stage, self.exporter = context.folder / "eval", stage.name, exporter
        self.dtype = DTYPES[context.setup.run.precision]

    def answer(self, step: int) -> None:
        """Ask, log, and export the model if it is the best of its stage so far. All processes call it together."""
        model = self.context.model
        out_dir = self.folder / f"{self.stage}-{step:07d}"
        if self.accelerator.is_main_process:
            # a run that has gone back comes to this step again, with other weights
            shutil.rmtree(out_dir / "answers", ignore_errors=True)
        self.accelerator.wait_for_everyone()
        autocast = torch.autocast(model.device.type, self.dtype, enabled=self.dtype != torch.float32)
        with undisturbed(model), autocast:
            scores = self.evaluator(model, self.context.processor, out_dir, {"stage": self.stage, "step": step})
        best = self._agreed(scores is not None and self._is_best(step, scores))
        if best:
            self.exporter(f"{self.stage}-best", step)
        if scores is not None:  # last: the line says that all of this is done
            self._log(step, scores, best)

    def is_done(self, step: int) -> bool:
        return self._agreed(any(line["step"] == step for line in self._lines()))

    def _agreed(self, answer: bool) -> bool:
        """The answer of process 0, in all of them."""
        said = [answer]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(said)
        return said[0]

    def _lines(self) -> list[dict[str, Any]]:
        file = self.folder / f"{self.stage}.jsonl"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []

    def _is_best(self, step: int, scores: dict[str, float]) -> bool:
        """Whether no earlier step of the stage was as good."""
        choose = self.settings.choose
        earlier = [line["scores"] for line in self._lines() if line["step"] < step]
        rated = [line[choose] for line in earlier if choose in line]
        return choose in scores and all(self.evaluator.better(scores[choose], value) for value in rated)

    def _log(self, step: int, scores: dict[str, float], best: bool) -> None:
        """Write the scores of a step."""
        if best:
            chosen = {"step": step, self.settings.choose: scores[self.settings.choose]}
            write_json(self.folder / f"{self.stage}-best.json", chosen, indent=1)
        lines = [line for line in self._lines() if line["step"] < step]
        lines.append({"stage": self.stage, "step": step, "best": best, "scores": scores})
        write_whole(self.folder / f"{self.stage}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        if self.context.tracker is not None:
            self.context.tracker.numbers(self.stage, step, {f"eval/{name}": value for name, value in scores.items()})
