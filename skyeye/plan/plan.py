"""``skyeye plan``: parameters, memory, time of a run, before it and without its weights or a device.

The memory of a step is counted (:mod:`skyeye.plan.memory`), what a strategy holds besides it is worked out
(:mod:`skyeye.plan.strategies`), tokens and operations come from sampled steps (:mod:`skyeye.plan.steps`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import torch

from skyeye.config.schema import ModelConfig, Recipe, RunConfig, StageConfig
from skyeye.models.build import build_model
from skyeye.models.flops import StepFlops, supervised
from skyeye.models.language import is_adapter
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.objective import TrainingObjective
from skyeye.models.precision import DTYPES, in_precision
from skyeye.models.prefix_attention import FLEX_BLOCK
from skyeye.models.projectors import PROJECTORS, refuse_shared_prefix
from skyeye.plan.hardware import GIB, Hardware
from skyeye.plan.memory import Load, StepCounter, StepMemory
from skyeye.plan.pairs import about, plan_pairs
from skyeye.plan.steps import SampledSteps, longest_pack, planned_data, rows
from skyeye.plan.strategies import STRATEGIES, Held, held
from skyeye.train.setup import PlannedStage, never_trained

#: Tokens of the packs that are counted to find the largest that fits. Between them the cost of a token is constant.
COUNTED_TOKENS = (1024, 8192, 65536)


def make_plan(recipe: Recipe, hardware: Hardware | None = None) -> dict[str, Any]:
    """What a run of ``recipe`` will take.

    Returns:
        Plain values, as ``--json`` writes them; bytes where a name does not say otherwise.
    """
    if recipe.run.precision == "auto":  # on the GPUs that are planned for
        recipe = replace(recipe, run=replace(recipe.run, precision="bf16"))
    hardware, run, settings = hardware or Hardware(), recipe.run, recipe.model
    if settings.text is not None:
        return plan_pairs(recipe, hardware)
    model = planned_model(settings, run, recipe.stages)
    data = planned_data(recipe, model.tokens_per_image, model.config.text_config.vocab_size)
    stages, resting = [], settings.checkpoint is None
    for stage in data.stages:
        model = planned_model(settings, run, recipe.stages, data.vocabulary)
        steps = data.steps[stage.name]
        stages.append(StagePlan(stage, planned_objective(stage, model), steps, run, resting).plan(hardware))
        resting = resting and stage.settings.language != "lora"
    return {
        **about(recipe, hardware),
        "data": data.origin,
        "parameters": _parameters(model),
        "stages": stages,
        "hours": sum(stage["hours"] for stage in stages),
        "warnings": _warnings(run, never_trained(recipe.stages), stages, hardware),
    }


def planned_model(
    settings: ModelConfig, run: RunConfig, stages: Sequence[StageConfig], vocabulary: int | None = None
) -> SkyEyeForConditionalGeneration:
    """The model on the meta device, in the precision that a run of these stages holds it in.

    Args:
        vocabulary: size of its vocabulary; None: what the settings say.
    """
    if run.share_prefix:
        refuse_shared_prefix(PROJECTORS[settings.projector.type])
    with torch.device("meta"):
        model = build_model(settings, vocab_size=vocabulary or settings.tokenizer.train_vocab_size)
        return in_precision(model, DTYPES[run.frozen], never_trained(stages))


def planned_objective(stage: PlannedStage, model: SkyEyeForConditionalGeneration) -> TrainingObjective:
    """What a stage trains of a model on the meta device. Soft and noisy numbers are not reckoned with."""
    with torch.device("meta"):
        model.set_trainable(**stage.trained, kinds=stage.kinds)
        return TrainingObjective(model, answers=stage.settings.answers, alignment=stage.settings.alignment)


def _parameters(model: SkyEyeForConditionalGeneration) -> dict[str, dict[str, int]]:
    """Number and bytes of the parameters of each part; tied weights once."""
    parts = {name: {"values": 0, "bytes": 0} for name in ("vision", "projector", "language", "adapters")}
    for name, parameter in model.named_parameters():
        part = "adapters" if is_adapter(name) else name.split("_")[0].split(".")[0]
        if name.startswith("vision_norm."):
            part = "projector"  # the norm before it
        parts[part]["values"] += parameter.numel()
        parts[part]["bytes"] += parameter.numel() * parameter.element_size()
    return parts


class StagePlan:
    """The plan of one stage.

    Args:
        objective: of the stage, on the meta device.
        steps: some of it, as its groups.
        resting: adapters that it does not train have not been trained before either.
    """

    def __init__(
        self, stage: PlannedStage, objective: TrainingObjective, steps: SampledSteps, run: RunConfig, resting: bool
    ):
        self.stage, self.objective, self.model, self.steps, self.run = stage, objective, objective.model, steps, run
        self.rows = [rows(step, run.share_prefix) for step in steps]
        settings, cached = stage.settings, stage.settings.feature_cache is not None
        self.flops = StepFlops(objective, cached)
        counter = StepCounter(
            objective,
            autocast=None if run.precision == "fp32" else DTYPES[run.precision],
            features=DTYPES[settings.feature_dtype] if cached else None,
            resting=resting,
        )
        shape = self.model.config.vision_shape
        size = 4 * math.prod(self.model.config.pixel_shape)
        self.bytes_per_image = DTYPES[settings.feature_dtype].itemsize * shape.tokens * shape.width if cached else size
        self.count: Callable[[Load, bool], StepMemory] = cache(counter.count)

    def plan(self, hardware: Hardware) -> dict[str, Any]:
        """The stage's part of :func:`make_plan`."""
        settings, steps, gpus = self.stage.settings, self.stage.steps, hardware.gpus
        loads = {processes: longest_pack(self.steps, processes, settings, self.run) for processes in {1, gpus}}
        count = len(self.rows)
        tokens = sum(len(group) for step in self.rows for group in step) / count
        operations = sum(self.flops.shared(step) for step in self.rows) / count
        used = 1 if self.run.strategy == "single" else gpus
        return {
            "stage": self.stage.name,
            **self.stage.trained,
            "trained": sum(p.numel() for p in self.objective.parameters() if p.requires_grad),
            "steps": steps,
            "processes": used,
            "tokens_per_step": tokens,
            "images_per_step": sum(len(g.images) for step in self.rows for g in step) / count,
            "targets_per_step": sum(supervised(step) for step in self.rows) / count,
            "samples_per_step": sum(len(g.branches) for step in self.rows for g in step) / count,
            "tokens": tokens * steps,
            "flops_per_step": operations,
            "flops": operations * steps,
            "hours": hardware.hours(operations * steps, used),
            "packs": {str(processes): asdict(load) for processes, load in loads.items()},
            "strategies": [
                self._row(name, checkpointing, loads, hardware)
                for name in STRATEGIES
                for checkpointing in (False, True)
            ],
        }

    def _row(self, strategy: str, checkpointing: bool, loads: dict[int, Load], hardware: Hardware) -> dict[str, Any]:
        """What a strategy takes of a GPU, with gradient checkpointing or without.

        Args:
            loads: the longest pack, by the number of processes.
        """
        processes = 1 if strategy == "single" else hardware.gpus
        load, memory = loads[processes], self.count(loads[processes], checkpointing)
        # all packs of a step are brought to the GPU before the first is computed
        images = max(sum(len(group.images) for group in step) for step in self.rows)
        waiting = max(0, -(-images // processes) - load.images) * self.bytes_per_image
        memory = replace(memory, activations=memory.activations + waiting)
        holds = held(self.objective, strategy, processes, self.run, self.stage.settings)
        largest = self._largest(loads[hardware.gpus], holds, checkpointing, hardware.available)
        return {
            "strategy": strategy,
            "checkpointing": checkpointing,
            **holds.beside(memory, hardware.available),
            "largest_pack": asdict(largest) if largest else None,
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


def _warnings(run: RunConfig, frozen: Sequence[str], stages: list[dict], hardware: Hardware) -> list[str]:
    """What will go wrong, or could go better, and what to change.

    Args:
        frozen: parts that no stage trains.
    """
    found, gpus = [], hardware.gpus
    if run.strategy == "single" and gpus > 1:
        found.append(f"run.strategy is single: {gpus - 1} of {gpus} GPUs stay idle; set run.strategy=ddp")
    if run.precision != "fp32" and run.frozen == "fp32" and frozen:
        found.append(
            f"frozen weights ({' and '.join(frozen)}) are held in float32, and a {run.precision} copy of each is kept"
            f" for the backward pass; set run.frozen={run.precision}"
        )
    for stage in stages:
        mine = [row for row in stage["strategies"] if row["strategy"] == run.strategy]
        planned = next(row for row in mine if row["checkpointing"] == run.gradient_checkpointing)
        if not planned["fits"]:
            found.append(_what_fits(stage, planned, run.strategy, hardware.memory))
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
