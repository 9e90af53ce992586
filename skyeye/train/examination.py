"""Benchmarks in the middle of a stage: scores for log and trackers, and the best model so far as an export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from skyeye.config.schema import EvalConfig
from skyeye.data.files import write_json, write_whole
from skyeye.models.precision import DTYPES
from skyeye.train.samples import undisturbed
from skyeye.train.trackers import Trackers


class Examine(Protocol):
    """What a run asks the benchmarks with; it comes from the rooms that know them (``skyeye.eval.in_training``)."""

    def __call__(self, model: Any, processor: Any, out_dir: Path, about: dict[str, Any]) -> dict[str, float] | None:
        """All processes call it together; ``benchmark/metric`` -> value in process 0, None in the others."""

    @property
    def better(self) -> Callable[[float, float], bool]:
        """Whether the first of two values of ``eval.choose`` is the better one."""


class StageExamination:
    """What ``eval.every`` asks for in one stage.

    Args:
        folder: run folder; results go to ``eval/<stage>-<step>/``, the curve to ``eval/<stage>.jsonl``.
        export: writes the model to ``checkpoints/<stage>-best/``; all processes call it.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        examine: Examine,
        settings: EvalConfig,
        folder: Path,
        processor: Any,
        *,
        stage: str,
        steps: int,
        precision: str,
        tracker: Trackers | None,
        export: Callable[[int], None],
    ):
        self.accelerator, self.examine, self.settings = accelerator, examine, settings
        self.folder, self.processor, self.stage, self.steps = folder / "eval", processor, stage, steps
        self.dtype, self.tracker, self.export = DTYPES[precision], tracker, export

    def is_due(self, step: int) -> bool:
        """Whether it is time after finished step ``step``."""
        return step % self.settings.every == 0 or step == self.steps

    def after_step(self, step: int, model: torch.nn.Module) -> None:
        """Ask, log, and export the model if it is the best of its stage so far. All processes call it together."""
        out_dir = self.folder / f"{self.stage}-{step:07d}"
        if self.accelerator.is_main_process:
            # a run that has gone back comes to this step again, with other weights
            shutil.rmtree(out_dir / "answers", ignore_errors=True)
        self.accelerator.wait_for_everyone()
        autocast = torch.autocast(model.device.type, self.dtype, enabled=self.dtype != torch.float32)
        with undisturbed(model), autocast:
            scores = self.examine(model, self.processor, out_dir, {"stage": self.stage, "step": step})
        best = self._agreed(scores is not None and self._is_best(step, scores))
        if best:
            self.export(step)
        if scores is not None:  # last: the line says that all of this is done
            self._log(step, scores, best)

    def is_done(self, step: int) -> bool:
        """Whether :meth:`after_step` came to its end at this step, in this run or before it was interrupted. All
        processes call it together."""
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
        return choose in scores and all(self.examine.better(scores[choose], value) for value in rated)

    def _log(self, step: int, scores: dict[str, float], best: bool) -> None:
        """Write the scores of a step."""
        if best:
            chosen = {"step": step, self.settings.choose: scores[self.settings.choose]}
            write_json(self.folder / f"{self.stage}-best.json", chosen, indent=1)
        lines = [line for line in self._lines() if line["step"] < step]
        lines.append({"stage": self.stage, "step": step, "best": best, "scores": scores})
        write_whole(self.folder / f"{self.stage}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        if self.tracker is not None:
            self.tracker.numbers(self.stage, step, {f"eval/{name}": value for name, value in scores.items()})
