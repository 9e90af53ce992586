"""What the model FLOPs utilisation (MFU) needs: the operations of a step, and what the devices could do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator

from skyeye.config.schema import RunConfig, StageConfig
from skyeye.data.sequence import GroupSequence
from skyeye.models.flops import StepFlops, known_peak


def peak_operations(run: RunConfig, accelerator: Accelerator) -> float | None:
    """Floating-point operations per second of all devices; None where neither the recipe nor the GPU's name says it.

    The peaks that are known by name are those of half precision.
    """
    known = known_peak(accelerator.device) if run.precision != "fp32" else None
    peak = run.peak_tflops or known
    return None if peak is None else peak * 1e12 * accelerator.num_processes


def step_operations(
    run: RunConfig, stage: StageConfig, model: torch.nn.Module
) -> Callable[[Sequence[GroupSequence]], float] | None:
    """The function that counts the operations of some groups; call it before the model is prepared.

    None where ZeRO-3 has shared the weights out in an earlier stage: their sizes are not to be seen then.
    """
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        return None
    flops = StepFlops(model, cached=stage.feature_cache is not None)
    return flops.shared if run.share_prefix else flops.separate
