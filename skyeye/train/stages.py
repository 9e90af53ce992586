"""One stage of a run: what is trained, from which data, with which optimiser, from which step."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from skyeye.config.schema import Recipe, StageConfig
from skyeye.data.mixture import Mixture
from skyeye.data.record import Group
from skyeye.data.sequence import SequenceBuilder
from skyeye.train.distributed import make_accelerator
from skyeye.train.features.stage import stage_features
from skyeye.train.loader import StepPacks, steps
from skyeye.train.loop import train_stage
from skyeye.train.optim import make_optimizer
from skyeye.train.progress import Monitor
from skyeye.train.state import export, load_state, save_state


class Interrupt:
    """Ctrl-C asks the run to stop after the step it is in; a second Ctrl-C ends it at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interrupt:
        self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _handle(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this step; press Ctrl-C again to stop at once", flush=True)


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
    accelerator = make_accelerator(recipe.run, stage)
    mixture, features, vision = stage_mixture(recipe, stage, groups), None, recipe.model.vision
    if stage.feature_cache is not None:  # before the model is prepared, which may share the tower's weights out
        features = stage_features(accelerator, recipe.run, stage, vision, model, mixture, lambda: interrupt.asked)
        if features is None:
            return accelerator, False
    prepared, optimizer = accelerator.prepare(model, make_optimizer(model, stage.optimizer))
    if state is not None:
        load_state(accelerator, prepared, optimizer, state)

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
    )
    monitor = Monitor(
        folder, recipe.run, stage, start_step=start_step, writes=accelerator.is_main_process, tracker=tracker
    )
    manifest = {**manifest, "stage": stage.name, "steps": stage.steps}

    def save(step: int) -> None:
        save_state(accelerator, prepared, optimizer, folder, {**manifest, "step": step})

    try:
        finished = train_stage(
            accelerator,
            prepared,
            optimizer,
            steps(dataset, start_step, recipe.run.workers),
            stage,
            start_step=start_step,
            seed=recipe.seed,
            longest=dataset.longest(start_step),
            monitor=monitor,
            after_step=_after_step(accelerator, recipe.run.checkpoint_every, stage.steps, interrupt, save),
        )
    finally:
        monitor.close()  # also before an error is told: it needs a line of its own
    if finished < stage.steps:
        save(finished)
        return accelerator, False
    export(
        accelerator,
        prepared,
        processor,
        folder / "checkpoints" / stage.name,
        {**manifest, "step": finished},
        recipe_yaml,
    )
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


def _after_step(
    accelerator: Accelerator, every: int, steps: int, interrupt: Interrupt, save: Callable[[int], None]
) -> Callable[[int], bool]:
    """What happens between two steps: the state is saved every so often, and a request to stop is heard."""

    def after_step(step: int) -> bool:
        asked = torch.tensor(float(interrupt.asked), device=accelerator.device)
        # Ctrl-C reaches the processes at different moments; they have to stop after the same step.
        if accelerator.reduce(asked, "sum") > 0 and step < steps:
            return True
        if step % every == 0 and step < steps:
            save(step)
        return False

    return after_step
