"""One stage of a run: what is trained, from which data, with which optimiser, from which step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from skyeye.data.mixture import Mixture
from skyeye.data.sequence import SequenceBuilder
from skyeye.models.checkpointing import checkpoint_layers
from skyeye.models.compile import compile_layers
from skyeye.models.objective import TrainingObjective
from skyeye.train.checkpoint.ema import MovingAverage
from skyeye.train.checkpoint.export import Exporter
from skyeye.train.checkpoint.resume import Position
from skyeye.train.checkpoint.snapshot import init_optimizer_state
from skyeye.train.checkpoint.state import load_state
from skyeye.train.context import Prepared, RunContext
from skyeye.train.features.stage import stage_features
from skyeye.train.features.store import FeatureReader
from skyeye.train.guards.guards import Guard, Rewind
from skyeye.train.guards.rewind import go_back
from skyeye.train.guards.watchdog import Watchdog
from skyeye.train.hooks import AverageHook, ExportHook, Hook, Hooks, InterruptHook, StateHook
from skyeye.train.loader import StepDivision, StepPacks, step_batches
from skyeye.train.loop import train_stage
from skyeye.train.monitor.evaluation import EvalHook
from skyeye.train.monitor.progress import Monitor
from skyeye.train.monitor.samples import SamplesHook, samples_of_stage
from skyeye.train.monitor.throughput import peak_operations, step_operations
from skyeye.train.optim import make_optimizer
from skyeye.train.pairs import StepPairs
from skyeye.train.parallel.distributed import check_position, make_accelerator, trained_values
from skyeye.train.parallel.loss_scale import patch_deepspeed_fp16
from skyeye.train.parallel.placement import hand_out
from skyeye.train.setup import PlannedStage


@dataclass(frozen=True)
class StageParts:
    """What a stage has made before its first step: what is trained, its guard, its data, and what tells of it."""

    prepared: Prepared
    guard: Guard
    mixture: Mixture
    packs: StepPacks | StepPairs
    peak: float | None  # floating-point operations per second of all devices, where known


def run_stage(context: RunContext, stage: PlannedStage, position: Position) -> tuple[Accelerator, bool]:
    """Train one stage and export the model after it.

    Args:
        position: where in this stage to begin.

    Returns:
        The stage's Accelerator, and whether the stage was finished (False: interrupted, its state is saved).
    """
    run = context.setup.run
    objective = stage.objective(context.model, context.processor.box_token_ids)
    if run.gradient_checkpointing:
        checkpoint_layers(context.model)
    accelerator = make_accelerator(run, stage.settings, trained_values(objective))
    check_position(accelerator, (stage.number, position.step))
    if run.compile:
        accelerator.print(compile_layers(context.model.language_model, accelerator.device))
    mixture, features = context.setup.mixture(stage), None
    if stage.settings.feature_cache is not None:  # before the objective is prepared: that may share the tower out
        features = stage_features(accelerator, context, stage.settings, mixture)
        if features is None:
            return accelerator, False
    parts = _prepare(context, stage, accelerator, objective, mixture, features)
    if position.state is not None:
        parts.guard.restore(load_state(parts.prepared, position.state)["guard"])
    monitor = Monitor(
        context.folder,
        run,
        stage,
        start_step=position.step,
        writes=accelerator.is_main_process,
        tracker=context.tracker,
        peak=parts.peak,
        device=accelerator.device,
    )
    guards = run.guards
    rank, world = accelerator.process_index, accelerator.num_processes
    watchdog = Watchdog(context.folder, rank, world, guards.hang_seconds, guards.hang_abort)
    hooks = Hooks(watchdog, stage_hooks(context, stage, parts, watchdog))
    with watchdog:
        try:
            hooks.before_stage(position.step)
            finished = _train(context, stage, parts, monitor, hooks, position.step)
        finally:
            monitor.close()  # also before an error is told: it needs a line of its own
        hooks.after_stage(finished)
    if finished == stage.steps and accelerator.distributed_type == DistributedType.DEEPSPEED:
        parts.prepared.objective.destroy()  # its hooks would go on following the model through the next stage
    return accelerator, finished == stage.steps


def stage_hooks(context: RunContext, stage: PlannedStage, parts: StageParts, watchdog: Watchdog) -> list[Hook]:
    """What happens besides the steps of a stage, in its order."""
    prepared, run = parts.prepared, context.setup.run
    accelerator = prepared.accelerator
    manifest = {**context.setup.manifest, "stage": stage.name, "steps": stage.steps}
    base = context.setup.base(stage)
    exporter = Exporter(prepared, context.processor, context.folder, manifest, context.recipe_yaml, base)
    hooks: list[Hook] = [
        AverageHook(prepared, parts.guard),
        InterruptHook(accelerator, context.interrupt, stage.steps),
        StateHook(prepared, parts.guard, context.folder, manifest, run),
    ]
    if run.samples_every is not None and stage.settings.answers:
        samples = samples_of_stage(context, stage, parts.mixture) if accelerator.is_main_process else None
        pace = {"every": run.samples_every, "steps": stage.steps}
        hooks.append(SamplesHook(samples, context.model, accelerator, watchdog, **pace))
    if context.evaluator is not None and (stage.settings.answers or stage.settings.contrastive):
        hooks.append(EvalHook(context, stage, exporter, watchdog))
    if prepared.average is not None:  # before the other export, which says that the stage is finished
        hooks.append(ExportHook(exporter, f"{stage.name}-ema", stage.steps, averaged=True))
    return [*hooks, ExportHook(exporter, stage.name, stage.steps)]


def _prepare(
    context: RunContext,
    stage: PlannedStage,
    accelerator: Accelerator,
    objective: TrainingObjective,
    mixture: Mixture,
    features: FeatureReader | None,
) -> StageParts:
    """Hand the objective and its optimiser to the strategy, and divide the data for it."""
    run, settings = context.setup.run, stage.settings
    optimizer = make_optimizer(objective, settings.optimizer)
    guard = Guard(accelerator, run.guards, context.folder, stage.name)
    guard.guard_optimizer_step(optimizer)
    operations, peak = step_operations(run, settings, objective), peak_operations(run, accelerator)
    hand_out(accelerator, objective)
    wrapped, optimizer = accelerator.prepare(objective, optimizer)
    patch_deepspeed_fp16(optimizer, settings.optimizer.clip_norm)
    guard.watch(optimizer)
    decay = settings.optimizer.ema_decay
    average = None if decay is None else MovingAverage(accelerator.unwrap_model(wrapped), decay)
    init_optimizer_state(optimizer)  # an update that is held back must not be the one that gives AdamW its state
    packs = _step_packs(context, stage, accelerator, mixture, features, operations if peak else None)
    return StageParts(Prepared(accelerator, wrapped, optimizer, average), guard, mixture, packs, peak)


def _step_packs(
    context: RunContext,
    stage: PlannedStage,
    accelerator: Accelerator,
    mixture: Mixture,
    features: FeatureReader | None,
    flops: Callable | None,
) -> StepPacks | StepPairs:
    run, model, settings = context.setup.run, context.model, stage.settings
    if context.setup.model.text is not None:
        return StepPairs(
            mixture,
            context.processor,
            images_per_step=settings.images_per_step,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            steps=stage.steps,
        )
    division = StepDivision(
        images_per_step=settings.images_per_step,
        accumulation=settings.accumulation,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        share_prefix=run.share_prefix,
        budget=run.tokens_per_pack,
    )
    prompt = stage.prompt(context.setup.model.prompt)
    return StepPacks(
        mixture,
        SequenceBuilder(
            context.processor.tokenizer, prompt, model.config.tokens_per_image, context.processor.questions
        ),
        context.setup.model.vision,
        division,
        steps=stage.steps,
        regions_grid=model.config.token_grid if settings.alignment.any() else None,
        features=features,
        flops=flops,
        caption_ids=context.processor.caption_ids if settings.contrastive else None,
    )


def _train(
    context: RunContext, stage: PlannedStage, parts: StageParts, monitor: Monitor, hook: Hook, start_step: int
) -> int:
    """All steps, from an earlier state again as often as the guard wants; the number of finished steps."""
    if start_step == stage.steps:  # killed after its last state, before its export was whole
        return start_step
    longest: dict[str, torch.Tensor] | None = parts.packs.longest(start_step)
    while True:
        todo = parts.guard.todo(start_step, stage.steps)
        try:
            return train_stage(
                parts.prepared,
                step_batches(parts.packs, todo, context.setup.run.workers),
                stage,
                start_step=start_step,
                longest=longest,
                guard=parts.guard,
                monitor=monitor,
                hook=hook,
            )
        except Rewind as rewind:
            start_step = go_back(parts.prepared, parts.guard, context.folder, rewind)
