"""The training loop: one stage, from one step to another, in plain sight."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from accelerate import Accelerator

from skyeye.config.schema import StageConfig
from skyeye.data.sequence import IGNORE_INDEX
from skyeye.train.optim import learning_rate
from skyeye.train.progress import Monitor


def train_stage(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[dict[str, torch.Tensor]],
    stage: StageConfig,
    *,
    start_step: int,
    seed: int,
    monitor: Monitor,
    after_step: Callable[[int], bool],
) -> int:
    """Train ``model`` from ``start_step`` to the end of the stage.

    Args:
        batches: micro-batches of this process, beginning with those of ``start_step``.
        monitor: is told loss, learning rate and counts of every step.
        after_step: called with the number of finished steps, on all processes alike; True ends the stage early.

    Returns:
        The number of finished steps.
    """
    model.train()
    processes, accumulation = accelerator.num_processes, stage.accumulation
    schedule = stage.optimizer
    for step in range(start_step, stage.steps):
        began = time.perf_counter()
        rate = learning_rate(
            step,
            lr=schedule.lr,
            min_lr=schedule.min_lr,
            warmup_lr=schedule.warmup_lr,
            warmup_steps=schedule.warmup_steps,
            total_steps=stage.steps,
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        # Dropout draws from a generator that is a function of the step, so that a resumed run draws the same.
        torch.manual_seed(hash((seed, step, accelerator.process_index)) & 0xFFFFFFFF)

        micro = [_to_device(next(batches), accelerator.device) for _ in range(accumulation)]
        waited = time.perf_counter() - began
        counts = torch.tensor(
            [[int((batch["labels"] != IGNORE_INDEX).sum()), int(batch.pop("samples"))] for batch in micro],
            dtype=torch.float64,
            device=accelerator.device,
        )
        totals = accelerator.reduce(counts.sum(dim=0), "sum")
        targets, samples = int(totals[0]), int(totals[1])

        step_loss = torch.zeros((), device=accelerator.device)
        for index, batch in enumerate(micro):
            with accelerator.accumulate(model):
                if stage.loss_normalisation == "micro_batch":  # the reference: mean per micro-batch, summed over them
                    share, normaliser = 1.0 / processes, int(counts[index, 0])
                else:  # every supervised token of the global batch weighs the same
                    share, normaliser = 1.0, targets
                loss = model(**batch, num_target_tokens=normaliser).loss * share
                # Gradients are averaged over processes and the loss divided by the accumulation further down; both are
                # undone here because the loss is divided once, by its tokens.
                accelerator.backward(loss * (processes * accumulation))
                norm = None
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(model.parameters(), schedule.clip_norm or float("inf"))
                optimizer.step()
                optimizer.zero_grad()
            step_loss += loss.detach()

        if monitor.wants(step):
            step_loss = accelerator.reduce(step_loss, "sum")
        monitor.step(
            step,
            loss=step_loss,
            learning_rate=rate,
            gradient_norm=norm,
            samples=samples,
            targets=targets,
            seconds=time.perf_counter() - began,
            waited=waited,
        )
        if after_step(step + 1):
            return step + 1
    return stage.steps


def _to_device(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
