"""AdamW parameter groups and the learning-rate schedule of the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from skyeye.config.schema import OptimizerConfig
from skyeye.errors import SkyEyeError
from skyeye.models.objective import trained_parameters

#: Name parts that take a parameter out of weight decay, besides having fewer than two dimensions (MiniGPT-v2).
NO_DECAY_NAMES = ("bias", "ln", "bn")


#: How the parameter names of a part begin; what belongs to none of them (the readers of the alignment) has factor 1.
PARTS = {"vision": "vision_tower.", "projector": "projector.", "language": "language_model."}


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    weight_decay: float,
    part_lr: Mapping[str, float] | None = None,
) -> list[dict]:
    """Split the trainable parameters into a decayed and an undecayed AdamW group; an empty group is skipped.

    Args:
        named_parameters: ``model.named_parameters()``; frozen ones are skipped.
        weight_decay: decay of matrices; tensors with fewer than two dimensions and :data:`NO_DECAY_NAMES` get none.
        part_lr: factor on the learning rate of the parts of :data:`PARTS`; parts of one factor share their groups.

    Returns:
        Groups for AdamW; ``lr_factor`` is what :func:`set_learning_rate` multiplies with.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            spared = parameter.ndim < 2 or any(part in name for part in NO_DECAY_NAMES)
            part = next((part for part, prefix in PARTS.items() if name.startswith(prefix)), "")
            groups.setdefault(((part_lr or {}).get(part, 1.0), spared), []).append(parameter)
    return [
        {"params": members, "weight_decay": 0.0 if spared else weight_decay, "lr_factor": factor}
        for (factor, spared), members in sorted(groups.items(), key=lambda item: item[0])
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group ``rate`` times the factor of its part."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]


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


def make_optimizer(objective: nn.Module, settings: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of ``objective``; the loop sets the learning rate of every step.

    Raises:
        SkyEyeError: the device of the parameters has no fused AdamW, and ``settings.fused`` asks for it.
    """
    groups = parameter_groups(trained_parameters(objective), settings.weight_decay, settings.part_lr)
    arguments = {"lr": settings.lr, "betas": tuple(settings.betas), "eps": settings.eps}
    if not settings.fused:
        return torch.optim.AdamW(groups, **arguments)
    try:
        return torch.optim.AdamW(groups, **arguments, fused=True)
    except RuntimeError as error:
        raise SkyEyeError(
            f"AdamW cannot be fused here: {str(error).splitlines()[0]}",
            where="optimizer.fused",
            remedy="leave it out; the plain form computes the same",
        ) from error
