"""``skyeye bench train``: samples per second with shared prefixes against a row for every sample, in one process."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

from skyeye.bench.common import alternate, machine, ratios
from skyeye.bench.model import sizes
from skyeye.data.packing import pack_step, single_rows
from skyeye.data.sequence import GroupSequence, collate_rows, pack, separate_rows
from skyeye.models.flops import StepFlops, known_peak, matmul_rate, supervised
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.objective import TrainingObjective
from skyeye.models.prefix_attention import FLEX_BLOCK

#: Samples of the equality check, and branches of a group in it: enough to hold several images and several branches.
CHECKED_GROUPS, CHECKED_BRANCHES = 2, 6


class TrainingStep:
    """One training step over given groups, in both layouts, with the time of its parts.

    Pictures are encoded by the tower of the model: once an image with shared prefixes, once a sample in separate rows,
    as the reference does.

    Args:
        budget: tokens of a micro-batch, the same for both layouts.
        autocast: lower precision of the products; None: as the weights are.
        pixels: image -> (3, S, S); None: random ones.
    """

    def __init__(
        self,
        model: SkyEyeForConditionalGeneration,
        groups: Sequence[GroupSequence],
        *,
        budget: int,
        autocast: torch.dtype | None = None,
        pixels: Mapping[str, torch.Tensor] | None = None,
    ):
        self.objective, self.model = TrainingObjective(model).train(), model
        self.groups, self.budget, self.autocast = list(groups), budget, autocast
        self.device = model.device
        generator = torch.Generator().manual_seed(0)
        names = dict.fromkeys(image for group in groups for image in group.images)
        self._given = pixels
        self.pixels = pixels or {name: torch.randn(model.config.pixel_shape, generator=generator) for name in names}
        self.optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
        self.multiple = FLEX_BLOCK if self.device.type == "cuda" else 1
        self.parts: dict[str, float] = {}
        self.computed = self.padding = 0

    def of(self, groups: Sequence[GroupSequence]) -> TrainingStep:
        """The same step over other groups; pictures that are not given are random ones."""
        return TrainingStep(self.model, groups, budget=self.budget, autocast=self.autocast, pixels=self._given)

    def shared(self) -> float:
        """One step with shared prefixes; samples per second."""
        with self._part("data"):
            packs = pack_step(self.groups, processes=1, budget=self.budget)[0]
        return self._step(packs, self.groups, shared=True)

    def separate(self, groups: Sequence[GroupSequence]) -> float:
        """One step with a row for every sample; samples per second."""
        with self._part("data"):
            single = single_rows(groups)
            longest = max(map(len, single))
            rows = max(1, self.budget // longest)
            batches = [single[start : start + rows] for start in range(0, len(single), rows)]
        return self._step(batches, groups, shared=False)

    def _step(self, batches: list[list[GroupSequence]], groups: Sequence[GroupSequence], shared: bool) -> float:
        began = time.perf_counter()
        targets = supervised(groups)
        for batch in batches:
            loss = self.loss(batch, shared, targets)
            with self._part("backward"):
                loss.backward()
        with self._part("optimiser"):
            self.optimizer.step()
            self.optimizer.zero_grad()
        return sum(len(group.branches) for group in groups) / (time.perf_counter() - began)

    def loss(self, groups: Sequence[GroupSequence], shared: bool, targets: int) -> torch.Tensor:
        """The loss of one micro-batch, divided by ``targets``."""
        with self._part("data"):
            batch = pack(groups, 0, self.multiple) if shared else collate_rows(separate_rows(groups), 0)
            shown = [image for group in groups for image in group.images * (1 if shared else len(group.branches))]
            pixels = torch.stack([self.pixels[image] for image in shown]).to(self.device)
            batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
            self.computed += batch["input_ids"].numel()
            self.padding += batch["input_ids"].numel() - sum(
                len(group) if shared else len(group.prefix_ids) + len(branch.input_ids)
                for group in groups
                for branch in (group.branches[:1] if shared else group.branches)
            )
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            with self._part("vision"), torch.no_grad():
                patches = self.model.encode_patches(pixels)
            with self._part("language forward"):
                return self.objective(**batch, patches=patches, counts={"labels": targets})

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def clear(self) -> None:
        """Forget the times and counts so far."""
        self.parts, self.computed, self.padding = {}, 0, 0


def equality(step: TrainingStep) -> dict[str, float | int]:
    """Loss and gradients of some groups in both layouts, and their largest differences."""
    groups = [
        GroupSequence(group.images, group.prefix_ids, group.branches[:CHECKED_BRANCHES])
        for group in step.groups[:CHECKED_GROUPS]
    ]
    trained = {name: p for name, p in step.model.named_parameters() if p.requires_grad}
    found = []
    for shared in (True, False):
        step.optimizer.zero_grad()
        loss = step.loss(groups, shared, supervised(groups))
        loss.backward()
        gradients = {name: p.grad.detach().float().clone() for name, p in trained.items() if p.grad is not None}
        found.append((loss.item(), gradients))
    step.optimizer.zero_grad()
    (ours, together), (theirs, alone) = found
    return {
        "samples": sum(len(group.branches) for group in groups),
        "images": len(groups),
        "loss_difference": abs(ours - theirs),
        "gradient_difference": max((together[name] - alone[name]).abs().max().item() for name in alone),
        "largest_gradient": max(gradient.abs().max().item() for gradient in alone.values()),
        "trained_tensors": len(alone),
    }


def some_samples(groups: Sequence[GroupSequence], count: int) -> list[GroupSequence]:
    """About ``count`` samples spread evenly over all samples of the groups, as groups."""
    places = [(g, b) for g, group in enumerate(groups) for b in range(len(group.branches))]
    chosen = {places[i * len(places) // count] for i in range(min(count, len(places)))}
    kept = [
        GroupSequence(group.images, group.prefix_ids, [x for b, x in enumerate(group.branches) if (g, b) in chosen])
        for g, group in enumerate(groups)
    ]
    return [group for group in kept if group.branches]


def bench_train(
    step: TrainingStep,
    *,
    baseline_samples: int = 12,
    pairs: int = 15,
    seconds: float = 100.0,
    peak_tflops: float | None = None,
    checked: Sequence[GroupSequence] | None = None,
) -> dict[str, Any]:
    """Measure both layouts of a step in alternating pairs.

    The baseline's time grows with its samples, one by one, so it computes an even selection of them; both are compared
    by samples per second.

    Args:
        baseline_samples: samples that the baseline computes in a step.
        pairs, seconds: see :func:`skyeye.bench.common.alternate`.
        peak_tflops: of the device, for MFU; None: known by its name, or not at all.
        checked: groups for the equality check, of which the first branches are taken; None: those of the step.
    """
    equal = equality(step.of(checked or step.groups))
    few, flops = some_samples(step.groups, baseline_samples), StepFlops(step.objective)
    dtype = step.autocast or next(step.model.language_model.parameters()).dtype
    peak = peak_tflops or known_peak(step.device)
    shared = Layout(step.groups, sum(map(len, step.groups)), flops.parts_shared(step.groups), dtype)
    separate = Layout(few, sum(map(sum, map(_row_lengths, few))), flops.parts_separate(few), dtype)
    ours, baseline = alternate(
        lambda: shared.timed(step, step.shared),
        lambda: separate.timed(step, lambda: step.separate(few)),
        pairs,
        seconds,
    )
    return {
        "benchmark": "train",
        "ratio_samples_per_second": ratios(ours, baseline),
        "shared": shared.result(ours, peak),
        "separate": separate.result(baseline, peak),
        "ratio_by_operations": round((flops.separate(step.groups) / flops.shared(step.groups)), 2),
        "equality": equal,
        "sizes": {
            **sizes(step.model),
            "trained_parameters": sum(p.numel() for p in step.model.parameters() if p.requires_grad),
            "images": len(step.groups),
            "samples": shared.samples,
            "baseline_samples": separate.samples,
            "tokens_per_pack": step.budget,
            "dtype": str(dtype).removeprefix("torch."),
        },
        "peak_tflops": peak,
        "measured_matmul_tflops": round(median(shared.products + separate.products), 4),
        "peak_memory_gib": round(_peak_memory(step.device) / 2**30, 3),
        "machine": machine(step.device),
    }


class Layout:
    """What a layout computes in a step, and the sums over its rounds.

    Args:
        tokens: of the step, padding not counted.
        operations: of the step, by part.
        dtype: of the products.

    Attributes:
        products: TFLOP/s that products of matrices reached before each round.
        shares: of that rate that each part of each round reached; ``step`` is the whole.
    """

    def __init__(
        self, groups: Sequence[GroupSequence], tokens: int, operations: Mapping[str, float], dtype: torch.dtype
    ):
        self.groups, self.tokens, self.operations, self.dtype = groups, tokens, operations, dtype
        self.products: list[float] = []
        self.shares: dict[str, list[float]] = {name: [] for name in (*operations, "step")}
        self.samples = sum(len(group.branches) for group in groups)
        self.seconds: dict[str, float] = {}
        self.padding = self.computed = 0

    def timed(self, step: TrainingStep, run: Callable[[], float]) -> float:
        """One round; samples per second."""
        step.clear()
        self.products.append(matmul_rate(step.device, self.dtype))
        rate = run()
        for part, spent in step.parts.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + spent
        possible = self.products[-1] * 1e12
        for part, operations in self.operations.items():
            self.shares[part].append(operations / step.parts[part] / possible)
        self.shares["step"].append(sum(self.operations.values()) / sum(step.parts.values()) / possible)
        self.padding += step.padding
        self.computed += step.computed
        return rate

    def result(self, rates: list[float], peak: float | None) -> dict[str, Any]:
        """The figures of all rounds."""
        rate, spent = sorted(rates)[len(rates) // 2], sum(self.seconds.values())
        tflops = sum(self.operations.values()) * rate / self.samples / 1e12
        return {
            "samples_per_second": round(rate, 3),
            "tokens_per_second": round(self.tokens * rate / self.samples, 1),
            "supervised_tokens_per_second": round(supervised(self.groups) * rate / self.samples, 2),
            "tokens_per_sample": round(self.tokens / self.samples, 1),
            "padding_share": round(self.padding / self.computed, 4),
            "tflops": round(tflops, 4),
            "mfu": round(tflops / peak, 4) if peak else None,
            "share_of_measured_matmul_rate": {part: round(median(shares), 4) for part, shares in self.shares.items()},
            "time_share": {part: round(seconds / spent, 4) for part, seconds in self.seconds.items()},
        }


def _row_lengths(group: GroupSequence) -> list[int]:
    """Tokens of a row for every sample."""
    return [len(group.prefix_ids) + len(branch.input_ids) for branch in group.branches]


def _peak_memory(device: torch.device) -> int:
    """Of the process on a CPU, of torch on a GPU; bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
