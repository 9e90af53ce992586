"""``stages[].optimizer``: how weights change in a step."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class OptimizerConfig:
    """AdamW and the schedule of the reference: linear from warmup_lr to lr, then cosine to min_lr."""

    lr: float = 1e-5
    min_lr: float = 1e-6
    warmup_lr: float = 1e-6
    warmup_steps: int = 1000
    steps_per_epoch: int | None = None  # reference: its epoch's; a warm-up longer than that then starts again at each
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.05
    clip_norm: float | None = 1.0  # reference: null
    part_lr: dict[str, float] = field(default_factory=dict)  # factors, e.g. {projector: 2.0, vision: 0.1}; else 1
    fused: bool = False  # one kernel for all of AdamW; equal within rounding
    ema_decay: float | None = None  # a moving average of what is trained, exported beside it as <stage>-ema
