"""What happens besides the steps of a stage: one protocol, and what follows it.

A stage has a list of hooks. All processes call all of them in the order of the list, so a hook may wait for the other
processes wherever it does so on each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator

from skyeye.config.schema import RunConfig
from skyeye.train.checkpoint.export import Exporter
from skyeye.train.checkpoint.state import save_state
from skyeye.train.context import Prepared
from skyeye.train.guards.guards import Guard
from skyeye.train.guards.interrupt import Interrupt
from skyeye.train.guards.watchdog import Watchdog


class Hook(Protocol):
    """What a stage calls besides its steps; each method does nothing unless a hook says otherwise."""

    def before_stage(self, step: int) -> None:
        """Before the first step, with the number of steps that were finished earlier."""

    def after_step(self, step: int) -> bool:
        """After each step, with the number of finished ones. True ends the stage early, before the hooks that follow
        are called."""
        return False

    def after_stage(self, step: int) -> None:
        """When the steps are finished or the stage was ended early, with the number of finished steps."""


class Hooks(Hook):
    """The hooks of a stage as one; the watchdog hears of each that has come to its end."""

    def __init__(self, watchdog: Watchdog, hooks: Sequence[Hook]):
        self.watchdog, self.hooks = watchdog, list(hooks)

    def before_stage(self, step: int) -> None:
        for hook in self.hooks:
            hook.before_stage(step)
            self.watchdog.beat()

    def after_step(self, step: int) -> bool:
        self.watchdog.beat()
        for hook in self.hooks:
            if hook.after_step(step):
                return True
            self.watchdog.beat()
        return False

    def after_stage(self, step: int) -> None:
        for hook in self.hooks:
            hook.after_stage(step)
            self.watchdog.beat()


class AverageHook(Hook):
    """Takes every step that moved the weights into the moving average."""

    def __init__(self, prepared: Prepared, guard: Guard):
        self.average, self.guard = prepared.average, guard

    def after_step(self, step: int) -> bool:
        if self.average is not None and self.guard.moved:
            self.average.update()
        return False


class InterruptHook(Hook):
    """Ends the stage when any process was asked to stop; after the last step there is nothing to end."""

    def __init__(self, accelerator: Accelerator, interrupt: Interrupt, steps: int):
        self.accelerator, self.interrupt, self.steps = accelerator, interrupt, steps

    def after_step(self, step: int) -> bool:
        return asked_to_stop(self.accelerator, self.interrupt) and step < self.steps


class StateHook(Hook):
    """Saves a resume state every so often, and at the end: it holds the moments, which the export does not.

    Args:
        folder: of the run.
        manifest: what every state of the stage says about it, ``steps`` among it.
        run: how often, and how many states are kept.
    """

    def __init__(self, prepared: Prepared, guard: Guard, folder: Path, manifest: dict[str, Any], run: RunConfig):
        self.prepared, self.guard, self.folder, self.manifest, self.run = prepared, guard, folder, manifest, run
        self.steps, self._saved = manifest["steps"], -1

    def before_stage(self, step: int) -> None:
        self._saved = step

    def after_step(self, step: int) -> bool:
        # in trouble none is saved: a run goes back to before it
        if step % self.run.checkpoint_every == 0 and step < self.steps and not self.guard.streak:
            self._save(step)
        return False

    def after_stage(self, step: int) -> None:
        if self._saved != self.steps:  # else it was killed after its last state, before its export was whole
            self._save(step)

    def _save(self, step: int) -> None:
        kept = {**self.manifest, "step": step, "loss": self.guard.usual_loss(), "guard": self.guard.state()}
        save_state(self.prepared, self.folder, kept, self.run)
        self._saved = step


class AnsweringHook(Hook):
    """Lets the model answer questions after some of the steps (samples, benchmarks); and before the first step, when a
    run still owes the answers after a step whose state was saved: it was stopped in between.

    Answers may take longer than a hang: the watchdog rests until all processes meet behind them.

    Args:
        every: steps between two rounds; the last of ``steps`` has one, too.
    """

    def __init__(self, accelerator: Accelerator, watchdog: Watchdog, *, every: int, steps: int):
        self.accelerator, self.watchdog, self.every, self.steps = accelerator, watchdog, every, steps

    def is_due(self, step: int) -> bool:
        """Whether it is time after finished step ``step``."""
        return step % self.every == 0 or step == self.steps

    def is_done(self, step: int) -> bool:
        """Whether :meth:`answer` came to its end at this step, in this run or before it was interrupted. All processes
        call it together."""
        raise NotImplementedError

    def answer(self, step: int) -> None:
        """Let the model answer as it is after finished step ``step``. All processes call it together."""
        raise NotImplementedError

    def before_stage(self, step: int) -> None:
        self.watchdog.rest()
        if step and self.is_due(step) and not self.is_done(step):
            self.answer(step)
        self.accelerator.wait_for_everyone()

    def after_step(self, step: int) -> bool:
        if self.is_due(step):
            self.watchdog.rest()
            self.answer(step)
            self.accelerator.wait_for_everyone()
        return False


class ExportHook(Hook):
    """Exports the model after the last step, as it is or, with ``averaged``, with the moving average in its place."""

    def __init__(self, exporter: Exporter, name: str, steps: int, *, averaged: bool = False):
        self.exporter, self.name, self.steps, self.averaged = exporter, name, steps, averaged

    def after_stage(self, step: int) -> None:
        if step < self.steps:
            return
        if not self.averaged:
            self.exporter(self.name, step)
            return
        with self.exporter.prepared.average.in_place():
            self.exporter(self.name, step)


def asked_to_stop(accelerator: Accelerator, interrupt: Interrupt) -> bool:
    """Whether any process was asked to stop. A signal reaches them at different moments; they have to stop at the same
    one, so all of them call this together, and :attr:`Interrupt.asked` then says the same in all."""
    asked = torch.tensor([interrupt.asked, interrupt.requeue], dtype=torch.float32, device=accelerator.device)
    asked = accelerator.reduce(asked, "sum").tolist()
    if asked[0] > 0:  # else one that has come since then would be forgotten
        interrupt.asked, interrupt.requeue = True, interrupt.requeue or asked[1] > 0
    return asked[0] > 0
