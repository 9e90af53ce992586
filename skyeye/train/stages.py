"""One stage of a run: what is trained, from which data, with which optimiser, from which step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list

from skyeye.config.schema import Recipe, StageConfig
from skyeye.data.mixture import Mixture
from skyeye.data.record import Group
from skyeye.data.sequence import SequenceBuilder
from skyeye.errors import SkyEyeError
from skyeye.models.compile import compile_layers
from skyeye.train.distributed import check_position, make_accelerator, trained_values
from skyeye.train.ema import MovingAverage
from skyeye.train.examination import Examine, StageExamination
from skyeye.train.export import export
from skyeye.train.features.stage import stage_features
from skyeye.train.guards import Guard, Rewind
from skyeye.train.interrupt import Interrupt
from skyeye.train.loader import StepPacks, steps
from skyeye.train.loop import train_stage
from skyeye.train.loss_scale import heed_scale
from skyeye.train.optim import make_optimizer
from skyeye.train.progress import Monitor
from skyeye.train.resume import trim_log
from skyeye.train.samples import stage_samples
from skyeye.train.snapshot import start
from skyeye.train.state import complete_states, damage, drop_states_after, load_state, save_state
from skyeye.train.throughput import peak_operations, step_operations
from skyeye.train.watchdog import Watchdog


def run_stage(
    recipe: Recipe,
    stage: StageConfig,
    model: torch.nn.Module,
    processor: Any,
    groups: dict[str, list[Group]],
    folder: Path,
    *,
    manifest: dict,
    recipe_yaml: str,
    interrupt: Interrupt,
    tracker: Any,
    examine: Examine | None,
    state: Path | None,
    start_step: int,
) -> tuple[Accelerator, bool]:
    """Train one stage and export the model after it.

    Returns:
        The stage's Accelerator, and whether the stage was finished (False: interrupted, its state is saved).
    """
    model.set_trainable(vision=stage.vision, projector=stage.projector, language=stage.language)
    model.set_training_losses(
        answers=stage.answers,
        alignment=stage.alignment,
        number_smoothing=stage.number_smoothing,
        number_noise=stage.number_noise,
        number_token_ids=processor.number_token_ids,
    )
    if recipe.run.gradient_checkpointing:
        model.activation_checkpointing_enable()
    accelerator = make_accelerator(recipe.run, stage, trained_values(model))
    check_position(accelerator, (recipe.stages.index(stage), start_step))
    if recipe.run.compile:
        accelerator.print(compile_layers(model.language_model, accelerator.device))
    mixture, features, vision = stage_mixture(recipe, stage, groups), None, recipe.model.vision
    if stage.feature_cache is not None:  # before the model is prepared, which may share the tower's weights out
        features = stage_features(accelerator, recipe.run, stage, vision, model, mixture, interrupt)
        if features is None:
            return accelerator, False
    optimizer = make_optimizer(model, stage.optimizer)
    guard = Guard(accelerator, recipe.run.guards, folder, stage.name)
    guard.hold_back(optimizer)
    operations, peak = step_operations(recipe.run, stage, model), peak_operations(recipe.run, accelerator)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    heed_scale(optimizer, stage.optimizer.clip_norm)
    guard.watch(optimizer)
    average = None
    if stage.optimizer.ema_decay is not None:
        average = MovingAverage(accelerator.unwrap_model(prepared), stage.optimizer.ema_decay)
    start(optimizer)  # an update that is held back must not be the one that gives AdamW its state
    if state is not None:
        guard.restore(load_state(accelerator, prepared, optimizer, state, average)["guard"])

    dataset = StepPacks(
        mixture,
        SequenceBuilder(processor.tokenizer, recipe.model.prompt, model.config.tokens_per_image),
        vision,
        steps=stage.steps,
        groups_per_step=stage.groups_per_step,
        accumulation=stage.accumulation,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        share_prefix=recipe.run.share_prefix,
        budget=recipe.run.tokens_per_pack,
        regions_grid=model.config.token_grid if stage.alignment.any() else None,
        features=features,
        flops=operations if peak else None,
    )
    monitor = Monitor(
        folder,
        recipe.run,
        stage,
        start_step=start_step,
        writes=accelerator.is_main_process,
        tracker=tracker,
        peak=peak,
        device=accelerator.device,
    )
    samples = None
    if accelerator.is_main_process:
        samples = stage_samples(recipe, stage, mixture, processor, folder, tracker)
    manifest = {**manifest, "stage": stage.name, "steps": stage.steps}

    def save(step: int) -> None:
        kept = {**manifest, "step": step, "loss": guard.usual_loss(), "guard": guard.state()}
        save_state(accelerator, prepared, optimizer, folder, kept, recipe.run, average)

    def export_best(step: int) -> None:
        best = folder / "checkpoints" / f"{stage.name}-best"
        export(accelerator, prepared, processor, best, {**manifest, "step": step}, recipe_yaml)

    examination = None
    if examine is not None and stage.answers:
        examination = StageExamination(
            accelerator,
            examine,
            recipe.eval,
            folder,
            processor,
            stage=stage.name,
            steps=stage.steps,
            precision=recipe.run.precision,
            tracker=tracker,
            export=export_best,
        )

    watchdog = Watchdog(
        folder,
        accelerator.process_index,
        accelerator.num_processes,
        recipe.run.guards.hang_seconds,
        recipe.run.guards.hang_abort,
    )
    shown_every = recipe.run.samples_every if stage.answers else None

    def look(step: int) -> None:
        shows = shown_every is not None and (step % shown_every == 0 or step == stage.steps)
        examines = examination is not None and examination.is_due(step)
        if not shows and not examines:
            return
        watchdog.rest()  # answers may take longer than a hang
        if samples is not None:
            samples.after_step(step, model)
        if examines:
            examination.after_step(step, model)
        accelerator.wait_for_everyone()  # the watchdogs of the processes that wait for the answers wake with its own

    def make_up(step: int) -> None:
        """What :func:`look` owes after a step whose state was saved before it: the run was stopped in between."""
        watchdog.rest()
        if step and samples is not None and samples.is_due(step) and not samples.is_done(step):
            samples.after_step(step, model)
        if step and examination is not None and examination.is_due(step) and not examination.is_done(step):
            examination.after_step(step, model)
        accelerator.wait_for_everyone()
        watchdog.beat()

    after_step = _after_step(
        accelerator, recipe.run.checkpoint_every, stage.steps, interrupt, guard, watchdog, average, save, look
    )
    done = start_step == stage.steps  # killed after its last state, before its export was whole
    longest, finished = None if done else dataset.longest(start_step), None
    with watchdog:
        try:
            make_up(start_step)
            while finished is None:
                try:
                    finished = train_stage(
                        accelerator,
                        prepared,
                        optimizer,
                        steps(dataset, guard.todo(start_step, stage.steps), recipe.run.workers),
                        stage,
                        start_step=start_step,
                        seed=recipe.seed,
                        longest=longest,
                        guard=guard,
                        monitor=monitor,
                        after_step=after_step,
                    )
                except Rewind as rewind:
                    start_step = _go_back(accelerator, prepared, optimizer, average, folder, guard, rewind)
        finally:
            monitor.close()  # also before an error is told: it needs a line of its own
        if not done:
            save(finished)  # also of the end: it holds the moments, which the export does not
            watchdog.beat()
        if finished < stage.steps:
            return accelerator, False
        target, manifest = folder / "checkpoints" / stage.name, {**manifest, "step": finished}
        if average is not None:  # first, because the other one says that the stage is finished
            with average.in_place():
                export(accelerator, prepared, processor, target.with_name(f"{stage.name}-ema"), manifest, recipe_yaml)
            watchdog.beat()
        export(accelerator, prepared, processor, target, manifest, recipe_yaml)
        watchdog.beat()
        if accelerator.distributed_type == DistributedType.DEEPSPEED:
            prepared.destroy()  # its hooks would go on following the model through the next stage
    return accelerator, True


def stage_mixture(recipe: Recipe, stage: StageConfig, groups: dict[str, list[Group]]) -> Mixture:
    """The order of the data of one stage."""
    used = {entry.source: groups[entry.source] for entry in stage.mixture}
    return Mixture(
        used,
        stage.mixture,
        seed=recipe.seed,
        stage=stage.name,
        total_groups=stage.steps * stage.groups_per_step,
        branches=stage.branches,
        sampling=stage.sampling,
        temperature=stage.temperature,
    )


def asked_to_stop(accelerator: Accelerator, interrupt: Interrupt) -> bool:
    """Whether any process was asked to stop. A signal reaches them at different moments; they have to stop at the same
    one, so all of them call this together, and :attr:`Interrupt.asked` then says the same in all."""
    asked = torch.tensor([interrupt.asked, interrupt.requeue], dtype=torch.float32, device=accelerator.device)
    asked = accelerator.reduce(asked, "sum").tolist()
    if asked[0] > 0:  # else one that has come since then would be forgotten
        interrupt.asked, interrupt.requeue = True, interrupt.requeue or asked[1] > 0
    return asked[0] > 0


def _after_step(
    accelerator: Accelerator,
    every: int,
    steps: int,
    interrupt: Interrupt,
    guard: Guard,
    watchdog: Watchdog,
    average: MovingAverage | None,
    save: Callable[[int], None],
    look: Callable[[int], None],
) -> Callable[[int], bool]:
    """What happens between two steps: the state is saved every so often, validation questions are
    answered, and a request to stop is heard."""

    def after_step(step: int) -> bool:
        watchdog.beat()
        if average is not None and guard.moved:
            average.update()
        if asked_to_stop(accelerator, interrupt) and step < steps:
            return True
        if step % every == 0 and step < steps and not guard.streak:  # a run goes back to before its trouble
            save(step)
            watchdog.beat()
        look(step)
        watchdog.beat()
        return False

    return after_step


def _go_back(
    accelerator: Accelerator,
    prepared,
    optimizer,
    average: MovingAverage | None,
    folder: Path,
    guard: Guard,
    rewind: Rewind,
) -> int:
    """Load the last state before the steps to be passed over (or in them); the step to go on with.

    Raises:
        SkyEyeError: there is no state of this stage yet, or all are damaged.
    """
    # process 0 chooses: it alone removes states, and may do so while another process still looks for one
    found: list = [None, []]
    if accelerator.is_main_process:
        states = [entry for entry in complete_states(folder) if entry[1]["stage"] == guard.stage]
        before = [entry for entry in reversed(states) if entry[1]["step"] <= rewind.first]
        for entry in before + [entry for entry in states if entry not in before]:
            wrong = damage(entry[0])
            if wrong is None:
                found[0] = entry
                break
            found[1].append(wrong)
    if accelerator.num_processes > 1:
        broadcast_object_list(found)
    for line in found[1]:
        accelerator.print(f"{line}; the state is passed by")
    if found[0] is None:
        raise SkyEyeError(
            f"{len(guard.streak)} updates in a row were held back, and there is no earlier state to go back to"
            + "".join(f"; {line}" for line in found[1]),
            where=f"stage {guard.stage}, step {rewind.last + 1}",
            remedy=f"look at {folder / 'events.jsonl'}; lower optimizer.lr, or lower run.checkpoint_every",
        )
    state, manifest = found[0]
    passed_over = [*guard.passed_over, [max(rewind.first, manifest["step"]), rewind.last]]
    load_state(accelerator, prepared, optimizer, state, average)
    guard.restore({**manifest["guard"], "streak": [], "passed_over": passed_over})
    guard.record("went back", rewind.last, state=state.name, passed_over=passed_over[-1])
    drop_states_after(accelerator, folder, manifest["serial"])
    if accelerator.is_main_process:
        trim_log(folder / "log.jsonl", guard.stage, manifest["step"])
    return manifest["step"]
