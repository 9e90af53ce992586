"""What the model FLOPs utilisation (MFU) needs: the operations of a step, and what the devices could do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accelerate import Accelerator

from skyeye.config.schema import RunConfig, StageConfig
from skyeye.data.sequence import GroupSequence
from skyeye.models.flops import StepFlops, known_peak
from skyeye.models.objective import TrainingObjective


def peak_operations(run: RunConfig, accelerator: Accelerator) -> float | None:
    """Floating-point operations per second of all devices; None where neither the recipe nor the GPU's name says it.

    The peaks that are known by name are those of half precision.
    """
    known = known_peak(accelerator.device) if run.precision != "fp32" else None
    peak = run.peak_tflops or known
    return None if peak is None else peak * 1e12 * accelerator.num_processes


def step_operations(
    run: RunConfig, stage: StageConfig, objective: TrainingObjective
) -> Callable[[Sequence[GroupSequence]], float] | None:
    """The function that counts the operations of some groups; call it before the objective is prepared.

    None where ZeRO-3 has shared the weights out in an earlier stage: their sizes are not to be seen then. And for two
    towers, whose operations are not counted.
    """
    if not isinstance(objective, TrainingObjective):
        return None
    if any(hasattr(parameter, "ds_id") for parameter in objective.parameters()):
        return None
    flops = StepFlops(objective, cached=stage.feature_cache is not None)
    return flops.shared if run.share_prefix else flops.separate
