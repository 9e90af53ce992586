"""The training loop: one stage, from one step to another, in plain sight."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator

from skyeye.config.schema import StageConfig
from skyeye.data.sequence import IGNORE_INDEX
from skyeye.train.guards import Guard
from skyeye.train.loader import Step
from skyeye.train.optim import learning_rate, set_learning_rate
from skyeye.train.progress import Monitor

#: What is counted over the global batch, so that each loss is divided by its own number whatever the processes.
COUNTED = ("samples", "broken", "labels", "region_words", "region_boxes", "phrase_boxes")


def train_stage(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: Iterator[Step],
    stage: StageConfig,
    *,
    start_step: int,
    seed: int,
    longest: dict[str, torch.Tensor] | None,
    guard: Guard,
    monitor: Monitor,
    after_step: Callable[[int], bool],
) -> int:
    """Train ``model`` from ``start_step`` to the end of the stage.

    Args:
        steps: what this process computes, from ``start_step`` on, without the steps that ``guard`` passes over.
        longest: a pack as long as any can be. It is computed first, with weight 0: memory peaks at once or not at all.
        guard: holds harmful updates back, and decides when to go back or to stop (:mod:`skyeye.train.guards`).
        monitor: is told loss, learning rate and counts of every step.
        after_step: called with the number of finished steps, on all processes alike; True ends the stage early.

    Returns:
        The number of finished steps.

    Raises:
        Rewind: the guard wants the run to go on from an earlier state.
        SkyEyeError: the guard stops the run.
    """
    model.train()
    processes = accelerator.num_processes
    schedule = stage.optimizer
    for step in guard.todo(start_step, stage.steps):
        began = time.perf_counter()
        rate = learning_rate(
            step,
            lr=schedule.lr,
            min_lr=schedule.min_lr,
            warmup_lr=schedule.warmup_lr,
            warmup_steps=schedule.warmup_steps,
            total_steps=stage.steps,
            steps_per_epoch=schedule.steps_per_epoch,
        )
        set_learning_rate(optimizer, rate)

        this = next(steps)
        waited = time.perf_counter() - began
        packs = [_to_device(pack, accelerator.device) for pack in this.packs]
        counts = torch.tensor([_counts(pack) for pack in packs], dtype=torch.float64, device=accelerator.device)
        totals = dict(zip(COUNTED, accelerator.reduce(counts.sum(dim=0), "sum").int().tolist(), strict=True))
        guard.samples(step, totals["samples"], totals["broken"], this.problems)

        if longest is not None:
            with accumulating(accelerator, model, last=False):
                accelerator.backward(0.0 * model(**_to_device(longest, accelerator.device), logits="none").loss)
            longest = None
        # Dropout draws from a generator that is a function of the step, so that a resumed run draws the same.
        torch.manual_seed(hash((seed, step, accelerator.process_index)) & 0xFFFFFFFF)
        step_loss = torch.zeros((), device=accelerator.device)
        for index, pack in enumerate(packs):
            last = index + 1 == len(packs)
            with accumulating(accelerator, model, last):
                if stage.loss_normalisation == "micro_batch":  # the reference: mean per micro-batch, summed over them
                    share, count = 1.0 / processes, dict(zip(COUNTED, counts[index].int().tolist(), strict=True))
                else:  # every supervised token of the global batch weighs the same
                    share, count = 1.0, totals
                output = model(**pack, num_target_tokens=max(count["labels"], 1), num_aligned=count, logits="none")
                loss = output.loss * share
                step_loss += loss.detach()
                if last:  # under ZeRO the last backward pass is also the update, which asks the guard
                    step_loss = guard.losses(step_loss)
                # Gradients are averaged over processes further down; this is undone here because the loss is divided
                # once, by its tokens.
                accelerator.backward(loss * processes)
                norm = None
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(model.parameters(), schedule.clip_norm or float("inf"))
                    guard.norm(norm)
                optimizer.step()
                optimizer.zero_grad()

        guard.finish(step, this.samples)
        monitor.step(
            step,
            loss=step_loss,
            learning_rate=rate,
            gradient_norm=norm,
            samples=totals["samples"],
            targets=totals["labels"],
            tokens=this.tokens,
            places=this.places,
            packs=len(packs),
            image_tokens=this.image_tokens,
            operations=this.operations,
            seconds=time.perf_counter() - began,
            waited=waited,
        )
        if after_step(step + 1):
            return step + 1
    return stage.steps


@contextmanager
def accumulating(accelerator: Accelerator, model: torch.nn.Module, last: bool) -> Iterator[None]:
    """One micro-batch of a step. Gradients are exchanged and weights moved with the last: steps differ in their number
    of packs, which the counting of ``Accelerator.accumulate`` does not know."""
    accelerator.sync_gradients = last
    with nullcontext() if last else accelerator.no_sync(model):
        yield


def _counts(batch: dict[str, torch.Tensor]) -> list[int]:
    """For each of :data:`COUNTED`, how many things of a micro-batch are learnt from; takes the first two out of it."""
    samples = [int(batch.pop(name)) for name in ("samples", "broken")]
    marks = {name: batch[name] if name == "labels" else batch[name][..., 0] for name in COUNTED if name in batch}
    return samples + [int((marks[n] != IGNORE_INDEX).sum()) if n in marks else 0 for n in COUNTED[2:]]


def _to_device(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
