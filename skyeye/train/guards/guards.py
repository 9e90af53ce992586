"""What a run does when something goes wrong inside it. Every decision is taken here; ``run.guards`` holds the settings.

A step whose loss or gradient norm is not finite, or far above the median of the last steps, changes no weight. After
``patience`` such steps in a row the run goes back to an earlier state and skips the steps around them; after
``max_rewinds`` of these it stops. From samples that cannot be read nothing is learnt, and too many of them stop the
run. All of this is a function of the steps so far, and :meth:`Guard.state` goes into every saved state: a resumed run
decides as the one that was never interrupted. Every event is a line of ``events.jsonl``.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object

from skyeye.config.schema import GuardsConfig
from skyeye.data.files import append_line
from skyeye.errors import SkyEyeError
from skyeye.train.parallel.loss_scale import loss_scaler

#: The share of broken samples is taken of at least this many: the first sample of a run may be the one that is broken.
LEAST_SEEN = 1000


class Rewind(Exception):
    """The run has to go back: ``first`` .. ``last`` are the steps (from 0) to skip."""

    def __init__(self, first: int, last: int):
        super().__init__(f"steps {first + 1} to {last + 1}")
        self.first, self.last = first, last


class Guard:
    """Watches one stage. All processes hold one and, given the same numbers, decide alike.

    Args:
        accelerator: to sum losses and to tell process 0 about events.
        settings: ``run.guards``.
        folder: run folder; process 0 writes ``events.jsonl`` there.
        stage: name of the stage.
    """

    def __init__(self, accelerator: Accelerator, settings: GuardsConfig, folder: Path, stage: str):
        self.accelerator, self.settings, self.folder, self.stage = accelerator, settings, folder, stage
        self.skipped: list[list[int]] = []  # ranges of steps, ends included
        self.streak: list[int] = []  # steps in a row whose update was held back
        self.moved = False  # whether the last step changed the weights
        self.seen = self.broken = 0
        self._losses, self._norms = deque(maxlen=settings.window), deque(maxlen=settings.window)
        self._loss, self._local, self._norm = math.nan, math.nan, None
        self._reason: str | None = None
        self._scaler: torch.amp.GradScaler | None = None  # of fp16
        self._norm_so_far: Callable[[], float | None] = lambda: self._norm

    # ------------------------------------------------------------------ what the loop tells

    def todo(self, start: int, end: int) -> list[int]:
        """The steps from ``start`` to before ``end`` that are not skipped."""
        return [s for s in range(start, end) if not any(first <= s <= last for first, last in self.skipped)]

    def samples(self, step: int, samples: int, broken: int, problems: Sequence[tuple[str, str]]) -> None:
        """Count the samples of a step.

        Args:
            samples, broken: of the global batch, those that are learnt from and those that are not.
            problems: (sample id, what is wrong) of this process.

        Raises:
            SkyEyeError: more than ``max_broken`` of the samples so far are broken.
        """
        self.seen, self.broken = self.seen + samples + broken, self.broken + broken
        if not broken:
            return
        everyone = gather_object(list(problems))
        for sample, problem in everyone:
            self.record("broken", step, sample=sample, problem=problem)
        if self.broken > self.settings.max_broken * max(self.seen, LEAST_SEEN):
            raise SkyEyeError(
                f"{self.broken} of {self.seen} samples are broken, more than {self.settings.max_broken:.2%}; the last: "
                f"{everyone[-1][1]}",
                where=f"stage {self.stage}, step {step + 1}",
                remedy=f"they are listed in {self.folder / 'events.jsonl'}; mend them, or raise run.guards.max_broken",
            )

    def losses(self, loss: torch.Tensor) -> None:
        """Sum this step's loss over the processes; called before its last backward pass, which under ZeRO updates."""
        self._local, self._norm, self._reason = loss, None, None
        self._loss = self.accelerator.reduce(loss.clone(), "sum")

    def norm(self, norm: torch.Tensor | float | None) -> None:
        """The gradient norm of this step; called before ``optimizer.step`` (which under ZeRO does nothing)."""
        self._norm = norm

    @property
    def loss(self) -> float:
        """Of the global batch, in the last step."""
        self._read()
        return self._loss

    @property
    def gradient_norm(self) -> float | None:
        """Of the last step; None where the strategy tells none."""
        self._read()
        return self._norm

    def finish(self, step: int, samples: Sequence[str]) -> None:
        """The end of a step.

        Args:
            samples: ids of the samples that this process computed.

        Raises:
            Rewind: updates were held back too often in a row.
            SkyEyeError: the same, and the run went back too often already.
        """
        self._read()
        reason = self._reason or self._wrong()
        if reason is None:
            self.moved = not self._overflow(self._norm)
            if self.moved:
                self.streak = []
            else:  # no offence, and no sign that the trouble is over
                self.record("overflow", step, loss=self._loss, loss_scale=self._scaler.get_scale())
            self._losses.append(self._loss)
            if self._norm is not None and math.isfinite(self._norm):
                self._norms.append(self._norm)
            return
        self.moved = False
        self.streak.append(step)
        own = {"rank": self.accelerator.process_index, "loss": float(self._local), "samples": list(samples)}
        ranks = gather_object([own])
        self.record("held back", step, reason=reason, loss=self._loss, gradient_norm=self._norm, ranks=ranks)
        if len(self.streak) < self.settings.patience:
            return
        first, last = max(0, self.streak[0] - self.settings.lead), step
        if len(self.skipped) >= self.settings.max_rewinds:
            self.record("stopped", step, reason=reason, skipped=self.skipped)
            raise SkyEyeError(
                f"{len(self.streak)} updates in a row were held back ({reason}), after the run had gone back "
                f"{len(self.skipped)} times",
                where=f"stage {self.stage}, step {step + 1}",
                remedy=f"look at {self.folder / 'events.jsonl'}; lower optimizer.lr, set optimizer.clip_norm, or use "
                "run.precision=bf16 in place of fp16",
            )
        raise Rewind(first, last)

    # ------------------------------------------------------------------ what holds an update back

    def guard_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the optimiser ask before every update; called before ``accelerator.prepare``.

        Under ZeRO the update is part of the last backward pass, in which DeepSpeed calls this same optimiser.
        """
        update = optimizer.step

        def step(*args, **kwargs):
            if self._reason is None:
                self._reason = self._wrong()
            return update(*args, **kwargs) if self._reason is None else None

        optimizer.step = step

    def watch(self, prepared: torch.optim.Optimizer) -> None:
        """Say where the gradient norm of a step is found before its update: DeepSpeed keeps it in its optimiser,
        multiplied with the loss scale of fp16."""
        self._scaler = loss_scaler(self.accelerator, prepared)
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            zero, scaler = prepared.optimizer, self._scaler
            self._norm_so_far = lambda: float(zero._global_grad_norm) / (scaler.get_scale() if scaler else 1.0)

    def _wrong(self) -> str | None:
        """Why this step should change no weight, or None."""
        self._read()
        norm = self._norm if self._norm is not None else self._norm_so_far()
        if not math.isfinite(self._loss):
            return f"the loss is {self._loss}"
        if norm is not None and not math.isfinite(norm):
            return None if self._overflow(norm) else f"the gradient norm is {norm}"
        settings = self.settings
        for name, value, past, factor in (
            ("loss", self._loss, self._losses, settings.loss_factor),
            ("gradient norm", norm, self._norms, settings.norm_factor),
        ):
            if value is not None and factor is not None and len(past) == settings.window:
                usual = median(past)
                if 0 < usual * factor < value:
                    return f"the {name} {value:.4g} is above {factor:g} x {usual:.4g}, the median of {len(past)} steps"
        return None

    def _read(self) -> None:
        """Have loss and norm as numbers: a GPU is waited for once, when all of the step has been asked of it."""
        waiting = {name: getattr(self, name) for name in ("_loss", "_norm")}
        waiting = {name: value for name, value in waiting.items() if isinstance(value, torch.Tensor)}
        if waiting:
            values = torch.stack([value.detach().double().reshape(()) for value in waiting.values()]).tolist()
            vars(self).update(zip(waiting, values, strict=True))

    def _overflow(self, norm: float | None) -> bool:
        """Whether a gradient is too large for fp16: the loss scaler holds the update back and lowers its scale, which
        is how it finds the right one. Below a scale of 1 it is the gradient itself that is wrong."""
        too_large = norm is not None and not math.isfinite(norm)
        return too_large and self._scaler is not None and self._scaler.get_scale() >= 1.0

    # ------------------------------------------------------------------ what is kept

    def record(self, event: str, step: int, **details: object) -> None:
        """Write a line of ``events.jsonl``, on process 0."""
        if self.accelerator.is_main_process:
            record_event(self.folder, event, stage=self.stage, step=step + 1, **details)

    def state(self) -> dict:
        """All that decisions depend on, as JSON."""
        return {
            "skipped": self.skipped,
            "streak": self.streak,
            "seen": self.seen,
            "broken": self.broken,
            "losses": list(self._losses),
            "norms": list(self._norms),
        }

    def usual_loss(self) -> float | None:
        """Median loss of the last steps; None before the first."""
        return median(self._losses) if self._losses else None

    def restore(self, state: dict) -> None:
        """Go on from what :meth:`state` gave."""
        self.skipped, self.streak = [list(window) for window in state["skipped"]], list(state["streak"])
        self.seen, self.broken = state["seen"], state["broken"]
        self._losses.clear()
        self._norms.clear()
        self._losses.extend(state["losses"])
        self._norms.extend(state["norms"])


def record_event(folder: Path, event: str, **details: object) -> None:
    """Append a line to ``events.jsonl`` of a run folder, where it stays readable while the run goes on.

    Raises:
        SkyEyeError: it cannot be written.
    """
    line = {"time": round(time.time(), 3), "event": event, **details}
    append_line(folder / "events.jsonl", json.dumps(line))
