"""Rules of one entry of ``stages``."""

from __future__ import annotations

from collections.abc import Iterator

from skyeye.config.issue import Issue
from skyeye.config.rules.registry import below, rule
from skyeye.config.schema import StageConfig


@rule(StageConfig)
def counts_of_a_stage_are_at_least_one(stage: StageConfig) -> Iterator[Issue]:
    yield from below(stage, 1, "images_per_step", "questions_per_image", "accumulation", "steps")


@rule(StageConfig)
def smoothing_is_not_negative(stage: StageConfig) -> Iterator[Issue]:
    yield from below(stage, 0, "box_token_smoothing")


@rule(StageConfig)
def a_stage_has_one_length(stage: StageConfig) -> Iterator[Issue]:
    if (stage.steps is None) == (stage.epochs is None):
        given = "none" if stage.steps is None else "both"
        message = f"give either steps or epochs (the other as null), not {given}"
        yield Issue("", message, ("steps", "epochs"))


@rule(StageConfig)
def epochs_are_above_zero(stage: StageConfig) -> Iterator[Issue]:
    if stage.epochs is not None and stage.epochs <= 0:
        yield Issue("epochs", f"{stage.epochs} is not above 0", ("epochs",))


@rule(StageConfig)
def temperature_is_above_zero(stage: StageConfig) -> Iterator[Issue]:
    if stage.temperature <= 0:
        yield Issue("temperature", f"{stage.temperature} is not above 0", ("temperature",))


@rule(StageConfig)
def temperature_belongs_to_its_sampling(stage: StageConfig) -> Iterator[Issue]:
    if stage.temperature != 1 and stage.sampling != "temperature":
        message = f"{stage.temperature} is only used with sampling: temperature"
        yield Issue("temperature", message, ("temperature", "sampling"))


@rule(StageConfig)
def the_tower_has_no_adapters(stage: StageConfig) -> Iterator[Issue]:
    if stage.vision == "lora":
        yield Issue("vision", "the tower has no adapters here; use frozen or full", ("vision",))


@rule(StageConfig)
def a_feature_cache_needs_a_frozen_tower(stage: StageConfig) -> Iterator[Issue]:
    if stage.vision == "full" and stage.feature_cache is not None:
        message = (
            "holds what a frozen tower sees, and this stage trains the tower (vision: full), so that"
            " what it sees changes with every step; leave feature_cache out, or set vision: frozen"
        )
        yield Issue("feature_cache", message, ("feature_cache", "vision"))


@rule(StageConfig)
def something_is_learnt(stage: StageConfig) -> Iterator[Issue]:
    if not stage.answers and not (stage.alignment.words or stage.alignment.boxes or stage.contrastive):
        message = "without answers, alignment.words, alignment.boxes and contrastive nothing is learnt"
        yield Issue("answers", message, ("answers", "alignment.words", "alignment.boxes", "contrastive"))


@rule(StageConfig)
def the_language_model_learns_from_answers(stage: StageConfig) -> Iterator[Issue]:
    if not stage.answers and stage.language != "frozen":
        message = (
            f"{stage.language}, but without answers the language model does not run and nothing in it is"
            " learnt; use frozen"
        )
        yield Issue("language", message, ("language", "answers"))


@rule(StageConfig)
def noise_is_a_share(stage: StageConfig) -> Iterator[Issue]:
    if not 0 <= stage.box_token_noise <= 1:
        yield Issue("box_token_noise", f"{stage.box_token_noise} is not a share between 0 and 1", ("box_token_noise",))


@rule(StageConfig)
def warmup_leaves_steps(stage: StageConfig) -> Iterator[Issue]:
    warmup = stage.optimizer.warmup_steps
    if stage.steps is not None and 1 <= stage.steps <= warmup:
        message = f"{warmup} leaves nothing of {stage.steps} steps"
        yield Issue("optimizer.warmup_steps", message, ("optimizer.warmup_steps", "steps"))
