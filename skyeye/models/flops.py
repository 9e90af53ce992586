"""How many floating-point operations a step needs, and how many a device can do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from skyeye.data.sequence import GroupSequence
from skyeye.models.language import is_adapter
from skyeye.models.objective import TrainingObjective
from skyeye.models.vision import VisionTower, vision_shape

#: Dense bfloat16 peak without sparsity, in TFLOP/s, from NVIDIA's data sheets.
PEAKS = {"H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "A10": 125.0, "L4": 121.0}


class StepFlops:
    """Operations of a training step of an objective, the trained parts of its model chosen.

    A product with a frozen matrix costs 2 operations a weight and token forward and 2 backward (the gradient of what
    came in); a trained one 2 more. A frozen tower has no backward pass. Norms, softmax and embeddings are left out, as
    usual, and so is what gradient checkpointing computes again.

    Args:
        cached: what the tower sees comes from a feature cache.
    """

    def __init__(self, objective: TrainingObjective, cached: bool = False):
        model = objective.model
        config = model.config.text_config
        self.layers, self.width = config.num_hidden_layers, config.hidden_size
        output = model.get_output_embeddings().weight
        self.head = (6 if output.requires_grad else 4) * output.numel()
        linear = {name: part for name, part in model.language_model.named_modules() if isinstance(part, nn.Linear)}
        head = id(model.get_output_embeddings())
        self.token = sum(  # adapters that are not trained are skipped
            (6 if part.weight.requires_grad else 4) * part.weight.numel()
            for name, part in linear.items()
            if id(part) != head and (part.weight.requires_grad or not is_adapter(f".{name}."))
        )
        trained = any(p.requires_grad for p in model.vision_tower.parameters())
        once = sum(map(_of_tower, model.vision_tower.towers, model.config.towers))
        self.image = 0 if cached else (3 if trained else 1) * once
        projector = list(model.projector.parameters())
        per_weight = 6 if any(p.requires_grad for p in projector) else 4 if trained else 2
        self.projection = per_weight * sum(p.numel() for p in projector) * model.tokens_per_image
        self.answers = objective.answers
        if objective.alignment.words:  # image tokens are compared with every word
            self.projection += (6 if output.requires_grad else 4) * output.numel() * model.tokens_per_image

    def shared(self, groups: Sequence[GroupSequence]) -> float:
        """Of groups whose prefix is computed once."""
        pairs = sum(
            _triangle(len(g.prefix_ids))
            + sum(len(b.input_ids) * len(g.prefix_ids) + _triangle(len(b.input_ids)) for b in g.branches)
            for g in groups
        )
        return self._sum(sum(map(len, groups)), pairs, groups, sum(len(g.images) for g in groups))

    def separate(self, groups: Sequence[GroupSequence]) -> float:
        """Of the same samples in rows of their own, padding not counted."""
        lengths = [len(g.prefix_ids) + len(b.input_ids) for g in groups for b in g.branches]
        images = sum(len(g.images) * len(g.branches) for g in groups)
        return self._sum(sum(lengths), sum(map(_triangle, lengths)), groups, images)

    def _sum(self, tokens: int, pairs: float, groups: Sequence[GroupSequence], images: int) -> float:
        attention = 12 * self.width * self.layers * pairs  # two products forward, four backward
        language = self.token * tokens + attention + self.head * supervised(groups)
        return self.answers * language + images * (self.image + self.projection)


def _of_tower(tower: VisionTower, vision: Mapping[str, Any]) -> int:
    """Operations of a tower for one image, forward."""
    shape = vision_shape(vision)
    weights = sum(part.weight.numel() for part in tower.modules() if isinstance(part, nn.Linear))
    blocks = getattr(tower.backbone, "blocks", ())
    return 2 * weights * shape.tokens + 4 * shape.tokens**2 * shape.widths[0] * len(blocks)


def supervised(groups: Sequence[GroupSequence]) -> int:
    """Targets of the groups."""
    return sum(label >= 0 for group in groups for branch in group.branches for label in branch.labels)


def known_peak(device: torch.device) -> float | None:
    """TFLOP/s of a GPU by its name; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAKS.items() if known in name), None)


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """TFLOP/s of the best of some products of square matrices: what the device does at most, as measured here."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e12


def _triangle(length: int) -> float:
    return length * (length + 1) / 2
