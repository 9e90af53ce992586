"""AdamW parameter groups and the learning-rate schedule of the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from skyeye.config.schema import OptimizerConfig

#: Name parts that take a parameter out of weight decay, besides having fewer than two dimensions (MiniGPT-v2).
NO_DECAY_NAMES = ("bias", "ln", "bn")


def parameter_groups(named_parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict]:
    """Split the trainable parameters into a decayed and an undecayed AdamW group; an empty group is left out.

    Args:
        named_parameters: ``model.named_parameters()``; frozen ones are passed over.
        weight_decay: decay of matrices; tensors with fewer than two dimensions and :data:`NO_DECAY_NAMES` get none.
    """
    decayed, undecayed = [], []
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            spared = parameter.ndim < 2 or any(part in name for part in NO_DECAY_NAMES)
            (undecayed if spared else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def learning_rate(
    step: int,
    *,
    lr: float,
    min_lr: float,
    warmup_lr: float,
    warmup_steps: int,
    total_steps: int,
    steps_per_epoch: int | None = None,
) -> float:
    """Learning rate of step ``step`` (0-based): linear from ``warmup_lr`` to ``lr``, then a cosine down to ``min_lr``.

    As in the reference, the cosine is a function of the step counted from the start of training, not from the end of
    the warm-up, so the curve drops a little where the warm-up ends. With ``steps_per_epoch`` a warm-up longer than an
    epoch starts again at each epoch, which is what the reference does; without, it is one line.
    """
    if step < warmup_steps:
        warmed = step if steps_per_epoch is None else step % steps_per_epoch
        return warmup_lr + (lr - warmup_lr) * warmed / warmup_steps
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * step / total_steps))


def make_optimizer(model: nn.Module, settings: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of ``model``; the loop sets the learning rate of every step."""
    groups = parameter_groups(model.named_parameters(), settings.weight_decay)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=tuple(settings.betas), eps=settings.eps)
