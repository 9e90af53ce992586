"""What each strategy holds on a GPU besides the activations of a step.

For ZeRO these are the allocations of DeepSpeed 0.19 (``deepspeed/runtime/zero/stage_1_and_2.py`` and ``stage3.py``),
read there for models whose trained weights are float32:

* ZeRO-1 and 2 flatten the trained weights (no copy is left behind), keep a float32 *master* copy of the partition of
  this process although the weights are float32 themselves, and give AdamW that partition. Frozen weights stay whole.
* Their gradients go through *buckets* of ``reduce_bucket_size`` elements (all trained ones, at most 5e8:
  :mod:`skyeye.train.parallel.distributed`) that are allocated in full in the backward pass, in the weights' precision:
  two with ``overlap_comm`` (where one does not hold all), for each type that gradients are sent in.
  Under autocast those of linear layers and convolutions are sent in low precision, all others in float32.
* ZeRO-3 shares out every weight, frozen ones too, except those below ``stage3_param_persistence_threshold``. The master
  copy is the partition itself. One bucket for each type; and at most ``stage3_max_live_parameters`` weights are
  gathered at a time: that much is counted, where the model is that large.

DDP's buckets are as large as the gradients. AdamW on a GPU works on all parameters together ("foreach") and makes one
temporary copy of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from skyeye.config.schema import RunConfig, StageConfig
from skyeye.plan.memory import StepMemory
from skyeye.train.parallel.distributed import deepspeed_settings, has_overlap

STRATEGIES = ("single", "ddp", "zero1", "zero2", "zero3")

#: Layers whose gradients DeepSpeed sends in low precision under autocast (its LOWER_PRECISION_SAFE_MODULES).
_LOW_PRECISION_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Held:
    """Bytes on one GPU that are there all through a step, and ``update``: those of the optimiser's work alone."""

    weights: int
    gradients: int
    optimizer: int
    buffers: int
    update: int

    @property
    def total(self) -> int:
        """Without ``update``: when the optimiser works, activations are gone."""
        return self.weights + self.gradients + self.optimizer + self.buffers

    def beside(self, step: StepMemory, available: float) -> dict[str, int | bool]:
        """A GPU's bytes by their parts, with those of a step, and whether ``available`` bytes are enough."""
        total = self.total + max(step.peak, self.update)
        return {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "buffers": self.buffers,
            **asdict(step),
            "update": max(0, self.update - step.peak),
            "total": total,
            "fits": total <= available,
        }


def held(model: nn.Module, strategy: str, gpus: int, run: RunConfig, stage: StageConfig) -> Held:
    """What ``strategy`` keeps on each of ``gpus`` GPUs for a model whose trained parts are chosen."""
    weights = _bytes(model.parameters())
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    trained = [p for p in model.parameters() if p.requires_grad]
    values = sum(p.numel() for p in trained)
    gradients, moments = 4 * values, 8 * values
    if strategy in ("single", "ddp"):
        return Held(weights + buffers, gradients, moments, gradients if strategy == "ddp" else 0, 4 * values)
    zero = zero_settings(run, stage, strategy, values)
    kinds = _sent_types(model, run)
    if strategy == "zero3":
        small = [p for p in model.parameters() if p.numel() < zero.param_persistence_threshold]
        large = [p for p in model.parameters() if p.numel() >= zero.param_persistence_threshold]
        bucket = zero.reduce_bucket_size * sum(kind.itemsize for kind in kinds)
        gathered = min(_bytes(large), int(zero.max_live_parameters * _bytes(large) / max(1, _numel(large))))
        shared = -(-_bytes(large) // gpus)
        return Held(
            weights=shared + _bytes(small) + buffers,
            gradients=gradients // gpus,
            optimizer=moments // gpus,
            buffers=bucket + gathered,
            update=4 * values // gpus,
        )
    bucket = zero.reduce_bucket_size * 4 * len(kinds) * (2 if zero.overlap_comm else 1)
    return Held(
        weights=weights + buffers,
        gradients=gradients if strategy == "zero1" else gradients // gpus,
        optimizer=(4 * values + moments) // gpus,
        buffers=bucket,
        update=2 * 4 * values // gpus,  # the flat gradient of the partition, and AdamW's copy
    )


def zero_settings(run: RunConfig, stage: StageConfig, strategy: str, trained: int) -> Any:
    """DeepSpeed's own reading of the settings of a run under a ZeRO strategy, on GPUs."""
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    settings = deepspeed_settings(run, stage, strategy, trained)["zero_optimization"]
    return DeepSpeedZeroConfig(**{**settings, "overlap_comm": has_overlap(int(strategy[-1]), trained)})


def _sent_types(model: nn.Module, run: RunConfig) -> set[torch.dtype]:
    """The types that gradients are sent in."""
    if run.precision == "fp32":
        return {torch.float32}
    low = {
        id(p)
        for module in model.modules()
        if module.__class__ in _LOW_PRECISION_LAYERS
        for p in module.parameters(recurse=False)
    }
    half = torch.bfloat16 if run.precision == "bf16" else torch.float16
    return {half if id(p) in low else p.dtype for p in model.parameters() if p.requires_grad}


def _bytes(parameters) -> int:
    return sum(p.numel() * p.element_size() for p in parameters)


def _numel(parameters) -> int:
    return sum(p.numel() for p in parameters)
