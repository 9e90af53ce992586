"""How many floating-point operations a step needs, and how many a device can do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from skyeye.data.sequence import GroupSequence
from skyeye.models.language import is_adapter
from skyeye.models.last_layer import narrowed_parts
from skyeye.models.objective import TrainingObjective
from skyeye.models.vision import VisionTower, vision_shape

#: Dense bfloat16 peak without sparsity, in TFLOP/s, from NVIDIA's data sheets.
PEAKS = {"H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "A10": 125.0, "L4": 121.0}


class Products(NamedTuple):
    """Operations of a token, an image or a target in the forward and in the backward pass."""

    forward: float
    backward: float

    @staticmethod
    def of(weights: Iterable[torch.Tensor]) -> Products:
        """Of products with these matrices; what comes in needs a gradient."""
        counted = [(weight.numel(), weight.requires_grad) for weight in weights]
        return Products(2 * sum(n for n, _ in counted), sum((4 if trained else 2) * n for n, trained in counted))

    @property
    def total(self) -> float:
        return self.forward + self.backward


class StepFlops:
    """Operations of a training step of an objective, the trained parts of its model chosen.

    A product with a frozen matrix costs 2 operations a weight and token forward and 2 backward (the gradient of what
    came in); a trained one 2 more. A frozen tower has no backward pass. What the last layer computes at targets alone
    (:mod:`skyeye.models.last_layer`) counts there alone. Norms, softmax and embeddings are left out, as usual, and so
    is what gradient checkpointing computes again.

    Args:
        cached: what the tower sees comes from a feature cache.
    """

    def __init__(self, objective: TrainingObjective, cached: bool = False):
        model = objective.model
        config = model.config.text_config
        self.layers, self.width = config.num_hidden_layers, config.hidden_size
        output = model.get_output_embeddings()
        self.head = Products.of([output.weight])
        linear = [  # adapters that are not trained are skipped
            part
            for name, part in model.language_model.named_modules()
            if isinstance(part, nn.Linear)
            and part is not output
            and (part.weight.requires_grad or not is_adapter(f".{name}."))
        ]
        at_targets = {id(inner) for part in narrowed_parts(model.language_model) for inner in part.modules()}
        self.token = Products.of(part.weight for part in linear if id(part) not in at_targets)
        self.target = Products.of(part.weight for part in linear if id(part) in at_targets)
        trained = any(p.requires_grad for p in model.vision_tower.parameters())
        once = sum(map(_of_tower, model.vision_tower.towers, model.config.towers))
        self.image = Products(0 if cached else once, 2 * once if trained and not cached else 0)
        projector = list(model.projector.parameters())
        weights = sum(p.numel() for p in projector) * model.tokens_per_image
        per_weight = 4 if any(p.requires_grad for p in projector) else 2 if trained else 0
        self.projection = Products(2 * weights, per_weight * weights)
        self.answers = objective.answers
        if objective.alignment.words:  # image tokens are compared with every word
            each = (x * model.tokens_per_image for x in self.head)
            self.projection = Products(*map(sum, zip(self.projection, each, strict=True)))

    def shared(self, groups: Sequence[GroupSequence]) -> float:
        """Of groups whose prefix is computed once."""
        return sum(self.parts_shared(groups).values())

    def separate(self, groups: Sequence[GroupSequence]) -> float:
        """Of the same samples in rows of their own, padding not counted."""
        return sum(self.parts_separate(groups).values())

    def parts_shared(self, groups: Sequence[GroupSequence]) -> dict[str, float]:
        """As :meth:`shared`, by part of the step: ``vision``, ``language forward``, ``backward``."""
        pairs = sum(
            _triangle(len(g.prefix_ids))
            + sum(len(b.input_ids) * len(g.prefix_ids) + _triangle(len(b.input_ids)) for b in g.branches)
            for g in groups
        )
        return self._parts(sum(map(len, groups)), pairs, groups, sum(len(g.images) for g in groups))

    def parts_separate(self, groups: Sequence[GroupSequence]) -> dict[str, float]:
        """As :meth:`separate`, by the same parts."""
        lengths = [len(g.prefix_ids) + len(b.input_ids) for g in groups for b in g.branches]
        images = sum(len(g.images) * len(g.branches) for g in groups)
        return self._parts(sum(lengths), sum(map(_triangle, lengths)), groups, images)

    def _parts(self, tokens: int, pairs: float, groups: Sequence[GroupSequence], images: int) -> dict[str, float]:
        targets, attention = supervised(groups), 4 * self.width * self.layers * pairs  # backward four products for two
        read = Products(*(t + h for t, h in zip(self.target, self.head, strict=True)))
        forward = self.token.forward * tokens + attention + read.forward * targets
        backward = self.token.backward * tokens + 2 * attention + read.backward * targets
        return {
            "vision": images * self.image.forward,
            "language forward": self.answers * forward + images * self.projection.forward,
            "backward": self.answers * backward + images * (self.projection.backward + self.image.backward),
        }


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
