"""The training loop: one stage, from one step to another, in plain sight."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator

from skyeye.data.sequence import IGNORE_INDEX
from skyeye.train.context import Prepared
from skyeye.train.guards.guards import Guard
from skyeye.train.hooks import Hook
from skyeye.train.loader import StepBatch
from skyeye.train.monitor.progress import Monitor, StepReport
from skyeye.train.optim import learning_rate, set_learning_rate
from skyeye.train.setup import PlannedStage

#: What is counted over the global batch, so that each loss is divided by its own number whatever the processes.
COUNTED = ("samples", "broken", "labels", "region_words", "region_boxes", "phrase_boxes")


def train_stage(
    prepared: Prepared,
    batches: Iterator[StepBatch],
    stage: PlannedStage,
    *,
    start_step: int,
    longest: dict[str, torch.Tensor] | None,
    guard: Guard,
    monitor: Monitor,
    hook: Hook,
) -> int:
    """Train from ``start_step`` to the end of the stage.

    Args:
        batches: what this process computes, from ``start_step`` on, without the steps that ``guard`` skips.
        longest: a pack as long as any can be. It is computed first, with weight 0: memory peaks at once or not at all.
        guard: holds harmful updates back, and decides when to go back or to stop (:mod:`skyeye.train.guards.guards`).
        monitor: is told loss, learning rate and counts of every step.
        hook: called after every step; it may end the stage early.

    Returns:
        The number of finished steps.

    Raises:
        Rewind: the guard wants the run to go on from an earlier state.
        SkyEyeError: the guard stops the run.
    """
    accelerator = prepared.accelerator
    prepared.objective.train()
    for step in guard.todo(start_step, stage.steps):
        began = time.perf_counter()
        rate = _set_rate(prepared.optimizer, stage, step)
        batch = next(batches)
        waited = time.perf_counter() - began
        own = [_counts(pack) for pack in batch.packs]  # here, where reading a number waits for no GPU
        packs = [_to_device(pack, accelerator.device) for pack in batch.packs]
        totals = _over_processes(accelerator, own)
        guard.samples(step, totals["samples"], totals["broken"], batch.problems)
        if longest is not None:
            with accumulating(prepared, last=False):
                accelerator.backward(0.0 * prepared.objective(**_to_device(longest, accelerator.device)))
            longest = None
        # Dropout draws from a generator that is a function of the step, so that a resumed run draws the same.
        torch.manual_seed(hash((stage.seed, step, accelerator.process_index)) & 0xFFFFFFFF)
        if stage.settings.loss_normalisation == "micro_batch":  # the reference: mean per micro-batch, summed over them
            _compute(prepared, packs, own, 1.0 / accelerator.num_processes, stage, guard)
        else:  # every supervised token of the global batch weighs the same
            _compute(prepared, packs, [totals] * len(packs), 1.0, stage, guard)
        guard.finish(step, batch.samples)
        times = {"seconds": time.perf_counter() - began, "waited": waited}
        found = {"loss": guard.loss, "gradient_norm": guard.gradient_norm}
        monitor.step(step, _report(batch, totals, **found, learning_rate=rate, **times))
        if hook.after_step(step + 1):
            return step + 1
    return stage.steps


def _compute(
    prepared: Prepared,
    packs: list[dict[str, torch.Tensor]],
    counts: list[dict[str, int]],
    share: float,
    stage: PlannedStage,
    guard: Guard,
) -> None:
    """Forward and backward of every micro-batch and the update; the guard is told the loss and the gradient norm.

    Args:
        counts: what the losses of each pack are divided by.
        share: of the loss of a pack in that of the step.
    """
    accelerator, objective, optimizer = prepared.accelerator, prepared.objective, prepared.optimizer
    step_loss = torch.zeros((), device=accelerator.device)
    for index, (pack, count) in enumerate(zip(packs, counts, strict=True)):
        last = index + 1 == len(packs)
        with accumulating(prepared, last):
            loss = objective(**pack, counts=count) * share
            step_loss += loss.detach()
            if last:  # under ZeRO the last backward pass is also the update, which asks the guard
                guard.losses(step_loss)
            # Gradients are averaged over processes further down; this is undone here because the loss is divided
            # once, by its tokens.
            accelerator.backward(loss * accelerator.num_processes)
            if accelerator.sync_gradients:
                limit = stage.settings.optimizer.clip_norm or float("inf")
                guard.norm(accelerator.clip_grad_norm_(objective.parameters(), limit))
            optimizer.step()
            optimizer.zero_grad()


@contextmanager
def accumulating(prepared: Prepared, last: bool) -> Iterator[None]:
    """One micro-batch of a step. Gradients are exchanged and weights moved with the last: steps differ in their number
    of packs, which the counting of ``Accelerator.accumulate`` does not know."""
    prepared.accelerator.sync_gradients = last
    with nullcontext() if last else prepared.accelerator.no_sync(prepared.objective):
        yield


def _set_rate(optimizer: torch.optim.Optimizer, stage: PlannedStage, step: int) -> float:
    """Give the optimiser the learning rate of a step."""
    schedule = stage.settings.optimizer
    names = ("lr", "min_lr", "warmup_lr", "warmup_steps", "steps_per_epoch")
    rate = learning_rate(step, total_steps=stage.steps, **{name: getattr(schedule, name) for name in names})
    set_learning_rate(optimizer, rate)
    return rate


def _report(batch: StepBatch, totals: dict[str, int], **computed: Any) -> StepReport:
    """What is told of a step."""
    names = ("tokens", "places", "image_tokens", "operations")
    counts = {"samples": totals["samples"], "targets": totals["labels"], "packs": len(batch.packs)}
    return StepReport(**{name: getattr(batch, name) for name in names}, **counts, **computed)


def _counts(batch: dict[str, torch.Tensor]) -> dict[str, int]:
    """For each of :data:`COUNTED`, how many things of a micro-batch are learnt from; takes the first two out of it."""
    samples = [int(batch.pop(name)) for name in ("samples", "broken")]
    marks = {name: batch[name] if name == "labels" else batch[name][..., 0] for name in COUNTED if name in batch}
    learnt = [int((marks[n] != IGNORE_INDEX).sum()) if n in marks else 0 for n in COUNTED[2:]]
    return dict(zip(COUNTED, samples + learnt, strict=True))


def _over_processes(accelerator: Accelerator, own: list[dict[str, int]]) -> dict[str, int]:
    """The counts of the global batch, from those of the micro-batches of this process."""
    sums = [sum(counts[name] for counts in own) for name in COUNTED]
    if accelerator.num_processes > 1:
        counted = torch.tensor(sums, dtype=torch.float64, device=accelerator.device)
        sums = accelerator.reduce(counted, "sum").int().tolist()
    return dict(zip(COUNTED, sums, strict=True))


def _to_device(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
