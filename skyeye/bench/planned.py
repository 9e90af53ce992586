"""The memory of a measured training step on a GPU, beside what :mod:`skyeye.plan` counts for the same step."""

from __future__ import annotations

import copy

import torch

from skyeye.bench.train import TrainingStep
from skyeye.data.packing import pack_step
from skyeye.models.objective import TrainingObjective
from skyeye.plan.memory import StepCounter
from skyeye.plan.steps import load_of


def memory_beside_plan(step: TrainingStep) -> dict[str, float]:
    """GiB that a step with shared prefixes takes of a GPU, and what was planned for it."""
    step.shared()  # the optimiser's moments are there
    torch.cuda.synchronize(step.device)
    torch.cuda.reset_peak_memory_stats(step.device)
    step.shared()
    measured = torch.cuda.max_memory_allocated(step.device)
    return {"measured_gib": round(measured / 2**30, 3), "planned_gib": round(planned_bytes(step) / 2**30, 3)}


def planned_bytes(step: TrainingStep) -> int:
    """Bytes of weights, gradients, moments, and of the largest micro-batch of a step with shared prefixes."""
    packs = pack_step(step.groups, processes=1, budget=step.budget)[0]
    loads = {load_of(packed) for packed in packs}
    counter = StepCounter(_without_weights(step.objective), autocast=step.autocast)
    values = {True: 0, False: 0}
    for tensor in (*step.model.parameters(), *step.model.buffers()):
        values[tensor.requires_grad] += tensor.numel() * tensor.element_size()
    largest = max(counter.count(load, checkpointing=False).peak for load in loads)
    return values[False] + 4 * values[True] + largest  # of what is trained: value, gradient, two moments


def _without_weights(objective: TrainingObjective) -> TrainingObjective:
    """A copy whose tensors hold nothing."""
    holds_nothing: dict[int, object] = {}
    for parameter in objective.parameters():
        holds_nothing[id(parameter)] = torch.nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
    for buffer in objective.buffers():
        holds_nothing[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(objective, holds_nothing)
