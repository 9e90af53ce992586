"""The loss scale of fp16: who holds it, and what DeepSpeed leaves undone about it."""

from __future__ import annotations

import torch
from accelerate import Accelerator


def loss_scaler(accelerator: Accelerator, optimizer) -> torch.amp.GradScaler | None:
    """Accelerate's, or under ZeRO DeepSpeed's; None where the precision is not fp16.

    Args:
        optimizer: after ``accelerator.prepare``.
    """
    zero = getattr(optimizer, "optimizer", None)
    return accelerator.scaler or getattr(zero, "torch_autocast_gradscaler", None)


def patch_deepspeed_fp16(optimizer, clip_norm: float | None) -> None:
    """ZeRO in fp16: clip what the gradients are without their scale, and lower the scale when they overflow.

    DeepSpeed (0.19.8, ``torch_autocast`` in float16) multiplies the loss with the scale of torch's ``GradScaler``, but
    compares the norm of these scaled gradients with the limit, so that every step would be cut to a norm of
    ``clip_norm / 65536``; and after an overflow it returns before the scaler hears of it, so that all further steps
    would overflow, too. Elsewhere nothing is changed.

    Args:
        optimizer: after ``accelerator.prepare`` under ZeRO.
        clip_norm: largest gradient norm; None: no limit.
    """
    zero = optimizer.optimizer
    scaler = getattr(zero, "torch_autocast_gradscaler", None)
    if scaler is None:
        return
    update = zero.step

    def step(*args, **kwargs) -> None:
        scale = scaler.get_scale()
        zero.clip_grad = (clip_norm or 0.0) * scale
        update(*args, **kwargs)
        if zero.overflow:
            scaler.update(scale * scaler.get_backoff_factor())
            zero._global_grad_norm = float("inf")
        else:
            zero._global_grad_norm = zero._global_grad_norm / scale  # what is logged

    zero.step = step
