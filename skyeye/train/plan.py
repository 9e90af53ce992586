"""``skyeye plan``: parameters, memory, time of a run, before it and without its weights or a device.

The memory of a step is counted (:mod:`skyeye.train.memory`), what a strategy holds besides it is worked out
(:mod:`skyeye.train.strategies`), tokens and operations come from sampled steps (:mod:`skyeye.train.plan_data`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import torch

from skyeye.config.schema import Recipe, StageConfig
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.flops import StepFlops, supervised
from skyeye.models.language import is_adapter
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.precision import DTYPES, in_precision
from skyeye.models.prefix_attention import FLEX_BLOCK
from skyeye.models.projectors import PROJECTORS, refuse_shared_prefix
from skyeye.train.memory import Load, StepCounter, StepMemory
from skyeye.train.plan_data import PlannedData, Steps, longest_pack, planned_data, rows
from skyeye.train.run import never_trained
from skyeye.train.strategies import STRATEGIES, Held, held

GIB = 2**30
#: Tokens of the packs that are counted to find the largest that fits. Between them the cost of a token is constant.
COUNTED_TOKENS = (1024, 8192, 65536)


def make_plan(
    recipe: Recipe,
    *,
    gpus: int = 8,
    memory: float = 80.0,
    reserve: float = 2.0,
    mfu: float = 0.4,
    peak_tflops: float = 312.0,
) -> dict[str, Any]:
    """What a run of ``recipe`` will take.

    Args:
        gpus: processes of DDP and ZeRO, one to a GPU.
        memory: of a GPU, GiB.
        reserve: of it, GiB kept for what torch does not count: the CUDA context, NCCL, fragments.
        mfu: share of the peak that the operations of the model reach.
        peak_tflops: of one GPU.

    Returns:
        Plain values, as ``--json`` writes them; bytes where a name does not say otherwise.
    """
    if gpus < 1 or memory <= reserve or reserve < 0 or not 0 < mfu <= 1 or peak_tflops <= 0:
        raise SkyEyeError(
            f"{gpus} GPUs of {memory:g} GiB with a reserve of {reserve:g}, mfu {mfu:g}, {peak_tflops:g} TFLOP/s",
            where="skyeye plan",
            remedy="1 GPU or more, a reserve below the memory, mfu above 0 and at most 1, TFLOP/s above 0",
        )
    model = planned_model(recipe)
    data = planned_data(recipe, model.tokens_per_image, model.config.text_config.vocab_size)
    recipe = data.recipe
    stages = []
    for stage in recipe.stages:
        model = planned_model(recipe, stage, data.vocabulary)
        stages.append(
            _Stage(recipe, stage, model, data.steps[stage.name]).plan(gpus, (memory - reserve) * GIB, mfu, peak_tflops)
        )
    return {
        "recipe": recipe.name,
        "gpus": gpus,
        "gpu_memory_gib": memory,
        "reserve_gib": reserve,
        "mfu": mfu,
        "peak_tflops": peak_tflops,
        "precision": recipe.run.precision,
        "frozen": recipe.run.frozen,
        "strategy": recipe.run.strategy,
        "gradient_checkpointing": recipe.run.gradient_checkpointing,
        "data": data.origin,
        "parameters": _parameters(model),
        "stages": stages,
        "hours": sum(stage["hours"] for stage in stages),
        "warnings": _warnings(recipe, data, stages, gpus, memory),
    }


def planned_model(
    recipe: Recipe, stage: StageConfig | None = None, vocabulary: int | None = None
) -> SkyEyeForConditionalGeneration:
    """The recipe's model on the meta device, in its precision, ready for ``stage``."""
    if recipe.run.share_prefix:
        refuse_shared_prefix(PROJECTORS[recipe.model.projector.type])
    with torch.device("meta"):
        model = build_model(recipe.model, vocab_size=vocabulary or recipe.model.tokenizer.train_vocab_size)
        in_precision(model, DTYPES[recipe.run.frozen], never_trained(recipe))
        if stage is not None:
            model.set_trainable(vision=stage.vision, projector=stage.projector, language=stage.language)
            model.set_training_losses(answers=stage.answers, alignment=stage.alignment)
    return model


def _parameters(model: SkyEyeForConditionalGeneration) -> dict[str, dict[str, int]]:
    """Number and bytes of the parameters of each part; tied weights once."""
    parts = {name: {"values": 0, "bytes": 0} for name in ("vision", "projector", "language", "adapters")}
    for name, parameter in model.named_parameters():
        if name.startswith("objective."):
            continue
        part = "adapters" if is_adapter(name) else name.split("_")[0].split(".")[0]
        if name.startswith("vision_norm."):
            part = "projector"  # the norm before it
        parts[part]["values"] += parameter.numel()
        parts[part]["bytes"] += parameter.numel() * parameter.element_size()
    return parts


class _Stage:
    """The plan of one stage."""

    def __init__(self, recipe: Recipe, stage: StageConfig, model: SkyEyeForConditionalGeneration, steps: Steps):
        self.recipe, self.stage, self.model, self.steps = recipe, stage, model, steps
        before = recipe.stages[: recipe.stages.index(stage)]
        resting = recipe.model.checkpoint is None and all(earlier.language != "lora" for earlier in before)
        run, cached = recipe.run, stage.feature_cache is not None
        self.flops = StepFlops(model, cached)
        counter = StepCounter(
            model,
            autocast=None if run.precision == "fp32" else DTYPES[run.precision],
            features=DTYPES[stage.feature_dtype] if cached else None,
            resting=resting,
        )
        shape = model.config.vision_shape
        size = 4 * math.prod(model.config.pixel_shape)
        self.bytes_per_image = DTYPES[stage.feature_dtype].itemsize * shape.tokens * shape.width if cached else size
        self.count: Callable[[Load, bool], StepMemory] = cache(counter.count)

    def plan(self, gpus: int, available: float, mfu: float, peak_tflops: float) -> dict[str, Any]:
        stage, run = self.stage, self.recipe.run
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        grouped = [rows(step, run.share_prefix) for step in self.steps]
        count = len(grouped)
        tokens = sum(len(group) for step in grouped for group in step) / count
        operations = sum(self.flops.shared(step) for step in grouped) / count
        used = 1 if run.strategy == "single" else gpus
        images = max(sum(len(group.images) for group in step) for step in grouped)
        loads = {processes: longest_pack(self.steps, processes, stage, run) for processes in {1, gpus}}
        strategies = []
        for name in STRATEGIES:
            processes = 1 if name == "single" else gpus
            load = loads[processes]
            # all packs of a step are brought to the GPU before the first is computed
            waiting = max(0, -(-images // processes) - load.images) * self.bytes_per_image
            holds = held(self.model, name, processes, run, stage)
            for checkpointing in (False, True):
                memory = self.count(load, checkpointing)
                memory = replace(memory, activations=memory.activations + waiting)
                total = holds.total + max(memory.peak, holds.update)
                largest = self._largest(loads[gpus], holds, checkpointing, available)
                strategies.append(
                    {
                        "strategy": name,
                        "checkpointing": checkpointing,
                        "weights": holds.weights,
                        "gradients": holds.gradients,
                        "optimizer": holds.optimizer,
                        "buffers": holds.buffers,
                        **{part: getattr(memory, part) for part in ("activations", "logits", "working")},
                        "update": max(0, holds.update - memory.peak),
                        "total": total,
                        "fits": total <= available,
                        "largest_pack": asdict(largest) if largest else None,
                    }
                )
        return {
            "stage": stage.name,
            "vision": stage.vision,
            "projector": stage.projector,
            "language": stage.language,
            "trained": trained,
            "steps": stage.steps,
            "processes": used,
            "tokens_per_step": tokens,
            "images_per_step": sum(len(g.images) for step in grouped for g in step) / count,
            "targets_per_step": sum(supervised(step) for step in grouped) / count,
            "samples_per_step": sum(len(g.branches) for step in grouped for g in step) / count,
            "tokens": tokens * stage.steps,
            "flops_per_step": operations,
            "flops": operations * stage.steps,
            "hours": operations * stage.steps / (used * peak_tflops * 1e12 * mfu) / 3600,
            "packs": {str(processes): asdict(load) for processes, load in loads.items()},
            "strategies": strategies,
        }

    def _largest(self, shape: Load, holds: Held, checkpointing: bool, available: float) -> Load | None:
        """The largest pack of the shape of ``shape`` that fits beside what is held; None: not even a small one."""
        room = available - holds.total
        if room < holds.update:
            return None
        points = [
            (load.tokens, self.count(load, checkpointing).peak)
            for load in (_scaled(shape, tokens, self.model.tokens_per_image) for tokens in COUNTED_TOKENS)
        ]
        if room < points[0][1]:
            return None
        # Costs are the largest of several straight lines, so a chord lies above them and never promises too much.
        above = next((n for n, (_, cost) in enumerate(points) if cost > room), len(points) - 1)
        (low, least), (high, most) = points[above - 1 : above + 1]
        tokens = int(low + (high - low) * (room - least) / (most - least)) // FLEX_BLOCK * FLEX_BLOCK
        return _scaled(shape, min(tokens, points[-1][0]), self.model.tokens_per_image)


def _scaled(shape: Load, tokens: int, tokens_per_image: int) -> Load:
    """A pack of ``tokens`` with as many images and targets for each token as ``shape``."""
    images = min(-(-shape.images * tokens // shape.tokens), max(1, tokens // tokens_per_image))
    tokens = max(tokens, images * tokens_per_image)
    return Load(tokens, images, max(1, -(-shape.targets * tokens // shape.tokens)))


def _warnings(recipe: Recipe, data: PlannedData, stages: list[dict], gpus: int, memory: float) -> list[str]:
    """What will go wrong, or could go better, and what to change."""
    run, found = recipe.run, []
    if run.strategy == "single" and gpus > 1:
        found.append(f"run.strategy is single: {gpus - 1} of {gpus} GPUs stay idle; set run.strategy=ddp")
    if run.precision != "fp32" and run.frozen == "fp32" and never_trained(recipe):
        parts = " and ".join(never_trained(recipe))
        found.append(
            f"frozen weights ({parts}) are held in float32, and a {run.precision} copy of each is kept for the"
            f" backward pass; set run.frozen={run.precision}"
        )
    for stage in stages:
        mine = [row for row in stage["strategies"] if row["strategy"] == run.strategy]
        planned = next(row for row in mine if row["checkpointing"] == run.gradient_checkpointing)
        if not planned["fits"]:
            found.append(_what_fits(stage, planned, run.strategy, memory))
        elif (least := _ddp(stage, planned)) < planned["total"] and run.strategy.startswith("zero"):
            found.append(
                f"stage {stage['stage']}: {run.strategy} needs {planned['total'] / GIB:.2f} GiB, with its buffers of"
                f" {planned['buffers'] / GIB:.2f}; ddp is the leaner with {least / GIB:.2f}"
            )
    if run.tokens_per_pack is None:
        found.append(
            "run.tokens_per_pack is not set: a step with longer questions makes a longer pack than the sampled ones;"
            " set it to the largest pack that fits, or less"
        )
    return found


def _ddp(stage: dict, planned: dict) -> int:
    """Bytes that DDP takes in the place of a planned row."""
    rows = {(row["strategy"], row["checkpointing"]): row["total"] for row in stage["strategies"]}
    return rows["ddp", planned["checkpointing"]]


def _what_fits(stage: dict, planned: dict, strategy: str, memory: float) -> str:
    """The sentence for a run that needs more memory than there is: the nearest thing that fits."""
    begin = f"stage {stage['stage']}: {strategy} needs {planned['total'] / GIB:.1f} of {memory:g} GiB"
    if planned["largest_pack"]:
        return f"{begin}; set run.tokens_per_pack={planned['largest_pack']['tokens']} or less"
    fitting = [row for row in stage["strategies"] if row["largest_pack"]]
    if not fitting:
        return (
            f"{begin}, and nothing fits, whichever the strategy: use more or larger GPUs, run.frozen=bf16 with"
            " precision=bf16, adapters (language: lora) in the place of full training, or a smaller model"
        )
    # As little as possible is changed: the strategy last.
    best = min(fitting, key=lambda row: (row["strategy"] != strategy, row["checkpointing"], row["buffers"]))
    return (
        f"{begin}; set run.strategy={best['strategy']} run.gradient_checkpointing={str(best['checkpointing']).lower()}"
        f" run.tokens_per_pack={best['largest_pack']['tokens']} or less"
    )
