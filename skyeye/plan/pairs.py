"""The plan of two towers (``model.text``): pictures and captions that are compared with each other, step by step.

As for other models nothing is loaded and memory is counted (:mod:`skyeye.plan.memory`). Operations are those of torch's
own counter. A step is one micro-batch: its pairs are divided among the GPUs, and each compares its own with all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from skyeye.config.schema import Recipe, RunConfig, StageConfig
from skyeye.models.contrastive import ContrastiveObjective
from skyeye.models.info_nce import compared
from skyeye.models.precision import DTYPES
from skyeye.models.two_towers import TwoTowers, TwoTowersConfig
from skyeye.plan.hardware import GIB, Hardware
from skyeye.plan.memory import PLAIN, LiveBytes, StepMemory, fuse_dropout, without_content
from skyeye.plan.steps import missing_source
from skyeye.plan.strategies import Held, held
from skyeye.train.setup import prepare_tokenizer, setup_run

#: Pairs of a GPU that are counted to find the most that fit. The cost of a pair rises with their number, so that a
#: chord between two of them lies above it.
COUNTED_PAIRS = (16, 256, 4096)
PARTS = ("vision", "projector", "text")
STRATEGIES = ("single", "ddp")  # the others cannot train it


@dataclass(frozen=True)
class PairStep:
    """What a step costs a process: bytes at the peak, and floating-point operations."""

    memory: StepMemory
    operations: int


class PairCounter:
    """Counts steps of one stage.

    Args:
        objective: on the meta device, with its trained parts chosen; its tensors become stand-ins.
        autocast: the lower precision of ``run.precision``; None: none.
    """

    def __init__(self, objective: ContrastiveObjective, autocast: torch.dtype | None):
        self.objective, self.model, self.autocast = objective, objective.model, autocast
        self.mode = FakeTensorMode()
        self.model.text_tower.backbone.set_attn_implementation(PLAIN)
        objective.train()
        with self.mode:
            without_content(objective)
        fuse_dropout(objective)

    def count(self, pairs: int, processes: int) -> PairStep:
        """A step of so many pairs on each of the processes, besides weights, gradients and optimiser."""
        live, counter = LiveBytes(), FlopCounterMode(display=False)
        live.ignore(self.objective)
        size, context = self.model.config.vision["image_size"], self.model.config.text["context"]
        with self.mode, counter, live:
            with torch.autocast("cpu", self.autocast or torch.bfloat16, enabled=self.autocast is not None):
                pixels, ids = torch.empty(pairs, 3, size, size), torch.zeros(pairs, context, dtype=torch.long)
                images, texts = self.model.embed_images(pixels), self.model.embed_texts(ids)
                before, kept = live.peak, live.now
                live.restart()
                images, texts = images.float(), texts.float()
                others = torch.empty((processes - 1) * pairs, images.shape[1])
                everything = [torch.cat([own, others]) for own in (images, texts)]
                loss = compared(images, texts, *everything, self.model.scale(), 0)
            at_loss = live.peak
            loss.backward()
            peak = max(before, at_loss, live.peak)
        return PairStep(StepMemory(kept, at_loss - kept, peak - at_loss), counter.get_total_flops())


def plan_pairs(recipe: Recipe, hardware: Hardware) -> dict[str, Any]:
    """What a run of two towers takes: as :func:`skyeye.plan.plan.make_plan`, in pairs in the place of tokens."""
    used = {entry.source: recipe.sources[entry.source] for stage in recipe.stages for entry in stage.mixture}
    missing, vocabulary = missing_source(used), recipe.model.tokenizer.train_vocab_size
    steps: dict[str, int | None] = {stage.name: stage.steps for stage in recipe.stages}
    if missing is None:
        setup = setup_run(recipe)
        steps = {stage.name: stage.steps for stage in setup.stages}
        vocabulary = vocabulary and len(prepare_tokenizer(setup.model, setup.data.groups))
    stages = []
    for settings in recipe.stages:
        with torch.device("meta"):
            model = TwoTowers(TwoTowersConfig.of(recipe.model, vocabulary))
        objective = ContrastiveObjective(model, settings.contrastive)
        model.set_trainable(**{part: getattr(settings, part) for part in PARTS})
        parameters = _parameters(model)
        stages.append(_stage(objective, settings, steps[settings.name], recipe.run, hardware))
    hours = [stage["hours"] for stage in stages]
    unknown = f"; steps of epochs, and hours, are not known: {missing}" if None in hours else ""
    return {
        **about(recipe, hardware),
        "data": f"every step has as many pairs as the recipe says{unknown}",
        "parameters": parameters,
        "stages": stages,
        "hours": None if None in hours else sum(hours),
        "warnings": _warnings(recipe.run, stages, hardware),
    }


def about(recipe: Recipe, hardware: Hardware) -> dict[str, Any]:
    """What a plan says of the run and of the GPUs."""
    run = recipe.run
    return {
        "recipe": recipe.name,
        "gpus": hardware.gpus,
        "gpu_memory_gib": hardware.memory,
        "reserve_gib": hardware.reserve,
        "mfu": hardware.mfu,
        "peak_tflops": hardware.peak_tflops,
        "precision": run.precision,
        "frozen": run.frozen,
        "strategy": run.strategy,
        "gradient_checkpointing": run.gradient_checkpointing,
    }


def _parameters(model: TwoTowers) -> dict[str, dict[str, int]]:
    """Number and bytes of the parameters of each part."""
    parts = {name: {"values": 0, "bytes": 0} for name in (*PARTS, "adapters")}
    for name, parameter in model.named_parameters():
        opening = name.split(".")[0].removesuffix("_tower")
        part = parts["adapters" if opening == "adapter" else opening]
        part["values"] += parameter.numel()
        part["bytes"] += parameter.numel() * parameter.element_size()
    return parts


def _stage(
    objective: ContrastiveObjective, settings: StageConfig, steps: int | None, run: RunConfig, hardware: Hardware
) -> dict[str, Any]:
    gpus = {"single": 1, "ddp": hardware.gpus}
    pairs = {name: -(-settings.images_per_step // gpus[name]) for name in STRATEGIES}
    holds = {name: held(objective, name, gpus[name], run, settings) for name in STRATEGIES}
    trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    count = cache(PairCounter(objective, None if run.precision == "fp32" else DTYPES[run.precision]).count)
    rows = [_row(name, pairs[name], holds[name], count, hardware) for name in STRATEGIES]
    processes = gpus[run.strategy]
    operations = processes * count(pairs[run.strategy], processes).operations
    return {
        "stage": settings.name,
        **{part: getattr(settings, part) for part in PARTS},
        "trained": trained,
        "steps": steps,
        "processes": processes,
        "pairs_per_step": settings.images_per_step,
        "flops_per_step": operations,
        "flops": None if steps is None else operations * steps,
        "hours": None if steps is None else hardware.hours(operations * steps, processes),
        "strategies": rows,
    }


def _row(
    strategy: str, pairs: int, holds: Held, count: Callable[[int, int], PairStep], hardware: Hardware
) -> dict[str, Any]:
    """What a strategy takes of a GPU."""
    processes = 1 if strategy == "single" else hardware.gpus
    memory = count(pairs, processes).memory
    return {
        "strategy": strategy,
        "checkpointing": False,
        "pairs": pairs,
        **holds.beside(memory, hardware.available),
        "largest_pairs": _largest(processes, hardware.available - holds.total, holds, count),
    }


def _largest(processes: int, room: float, holds: Held, count: Callable[[int, int], PairStep]) -> int | None:
    """The most pairs of a GPU that fit beside what is held; None: not even a few."""
    low, least = 0, 0
    for high in COUNTED_PAIRS if room >= holds.update else ():
        most = count(high, processes).memory.peak
        if most > room:
            return int(low + (high - low) * (room - least) / (most - least)) if low else None
        low, least = high, most
    return low or None


def _warnings(run: RunConfig, stages: list[dict[str, Any]], hardware: Hardware) -> list[str]:
    """What will go wrong, or could go better, and what to change."""
    found, gpus = [], hardware.gpus
    if run.strategy == "single" and gpus > 1:
        found.append(f"run.strategy is single: {gpus - 1} of {gpus} GPUs stay idle; set run.strategy=ddp")
    for stage in stages:
        planned = next(row for row in stage["strategies"] if row["strategy"] == run.strategy)
        if planned["fits"]:
            continue
        begin = f"stage {stage['stage']}: {run.strategy} needs {planned['total'] / GIB:.1f} of {hardware.memory:g} GiB"
        largest = planned["largest_pairs"]
        if largest is None:
            found.append(f"{begin}, and no number of pairs fits: use larger GPUs, or train an adapter alone")
        else:
            most = largest * stage["processes"]
            found.append(f"{begin}; set stages.{stage['stage']}.images_per_step={most} or less")
    return found
