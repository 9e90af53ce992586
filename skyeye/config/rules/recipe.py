"""Rules between the sections of a recipe."""

from __future__ import annotations

from collections.abc import Iterator

from skyeye.config.issue import Issue
from skyeye.config.rules.registry import rule
from skyeye.config.schema import Recipe


@rule(Recipe)
def names_of_stages_differ(recipe: Recipe) -> Iterator[Issue]:
    names = [stage.name for stage in recipe.stages]
    for name in sorted({name for name in names if names.count(name) > 1}):
        settings = tuple(f"stages[{i}].name" for i, other in enumerate(names) if other == name)
        yield Issue("stages", f"the name {name!r} is used more than once", settings)


@rule(Recipe)
def averages_have_a_name_of_their_own(recipe: Recipe) -> Iterator[Issue]:
    for i, stage in enumerate(recipe.stages):
        if stage.optimizer.ema_decay is not None:
            message = f"{stage.name}-ema is the name of the averages that {stage.name} exports"
            yield from _name_taken(recipe, i, "ema", message, f"stages[{i}].optimizer.ema_decay")


@rule(Recipe)
def best_models_have_a_name_of_their_own(recipe: Recipe) -> Iterator[Issue]:
    for i, stage in enumerate(recipe.stages):
        if recipe.eval.choose is not None:
            message = f"{stage.name}-best is the name of the best model that {stage.name} exports"
            yield from _name_taken(recipe, i, "best", message, "eval.choose")


def _name_taken(recipe: Recipe, exporting: int, suffix: str, message: str, setting: str) -> Iterator[Issue]:
    """``message`` when some stage has the name under which the stage ``exporting`` exports a second model."""
    names = [stage.name for stage in recipe.stages]
    name = f"{names[exporting]}-{suffix}"
    if name in names:
        settings = (setting, f"stages[{exporting}].name", f"stages[{names.index(name)}].name")
        yield Issue("stages", message, settings)


@rule(Recipe)
def mixtures_draw_from_known_sources(recipe: Recipe) -> Iterator[Issue]:
    for i, stage in enumerate(recipe.stages):
        for j, entry in enumerate(stage.mixture):
            yield from _unknown_source(recipe, f"stages[{i}].mixture[{j}].source", entry.source)


@rule(Recipe)
def samples_come_from_a_known_source(recipe: Recipe) -> Iterator[Issue]:
    if recipe.run.samples_source is not None:
        yield from _unknown_source(recipe, "run.samples_source", recipe.run.samples_source)


def _unknown_source(recipe: Recipe, path: str, source: str) -> Iterator[Issue]:
    if source not in recipe.sources:
        known = ", ".join(recipe.sources) or "none"
        yield Issue(path, f"no source {source!r}; known: {known}", (path, f"sources.{source}"))


@rule(Recipe)
def samples_are_held_out(recipe: Recipe) -> Iterator[Issue]:
    source = recipe.run.samples_source
    for i, stage in enumerate(recipe.stages):
        drawn = [f"stages[{i}].mixture[{j}].source" for j, entry in enumerate(stage.mixture) if entry.source == source]
        if drawn:
            message = (
                f"{source!r} is trained on in stages[{i}]; name a held-out"
                " source, or leave it out: the samples are then called training data"
            )
            yield Issue("run.samples_source", message, ("run.samples_source", *drawn))


@rule(Recipe)
def adapters_are_there_to_be_trained(recipe: Recipe) -> Iterator[Issue]:
    lora = recipe.model.lora
    for i, stage in enumerate(recipe.stages):
        if stage.language == "lora" and lora.r == 0:
            path = f"stages[{i}].language"
            yield Issue(path, "lora, but model.lora.r is 0: there are no adapters; use full", (path, "model.lora.r"))
        if stage.projector == "lora" and (lora.r == 0 or not lora.projector):
            path = f"stages[{i}].projector"
            message = "lora, but the projector has none; set model.lora.projector: true with r above 0, or full"
            yield Issue(path, message, (path, "model.lora.r", "model.lora.projector"))


@rule(Recipe)
def numbers_of_boxes_are_tokens_where_a_stage_needs_them(recipe: Recipe) -> Iterator[Issue]:
    """Of a tokenizer that is read it is known when it is read."""
    tokenizer = recipe.model.tokenizer
    for i, stage in enumerate(recipe.stages):
        for name in ("box_token_smoothing", "box_token_noise"):
            if getattr(stage, name) > 0 and tokenizer.train_vocab_size and not tokenizer.box_tokens:
                path = f"stages[{i}].{name}"
                message = "needs numbers of boxes that are tokens; set model.tokenizer.box_tokens: true, or this to 0"
                yield Issue(path, message, (path, "model.tokenizer.box_tokens", "model.tokenizer.train_vocab_size"))


@rule(Recipe)
def weights_in_4_bits_are_not_trained(recipe: Recipe) -> Iterator[Issue]:
    for i, stage in enumerate(recipe.stages):
        if stage.language == "full" and recipe.model.language.quantize:
            message = "weights in 4 bits (model.language.quantize) cannot be trained"
            path = f"stages[{i}].language"
            yield Issue(path, message, (path, "model.language.quantize"))


@rule(Recipe)
def weights_in_4_bits_have_one_stage(recipe: Recipe) -> Iterator[Issue]:
    if recipe.model.language.quantize and len(recipe.stages) > 1:
        message = (
            "the next stage would begin with the exported weights, which are not in 4"
            " bits; give each stage a recipe of its own"
        )
        yield Issue("model.language.quantize", message, ("model.language.quantize", "stages"))


@rule(Recipe)
def weights_in_4_bits_are_not_shared_out(recipe: Recipe) -> Iterator[Issue]:
    if recipe.run.strategy == "zero3" and recipe.model.language.quantize:
        yield _reads_whole_weights("model.language.quantize", "model.language.quantize")


@rule(Recipe)
def dora_is_not_shared_out(recipe: Recipe) -> Iterator[Issue]:
    if recipe.run.strategy == "zero3" and _has_dora(recipe):
        yield _reads_whole_weights("model.lora.variant", "model.lora.variant", "model.lora.r")


def _reads_whole_weights(path: str, *settings: str) -> Issue:
    message = "reads whole weights, which zero3 shares out; use zero2 or ddp"
    return Issue(path, message, (*settings, "run.strategy"))


@rule(Recipe)
def dora_rests_on_weights_that_stay(recipe: Recipe) -> Iterator[Issue]:
    for i, stage in enumerate(recipe.stages):
        if stage.language == "full" and _has_dora(recipe):
            message = (
                "DoRA keeps the lengths of the weights it began with, and a stage that"
                " trains the weights changes them; use lora or rslora"
            )
            path = f"stages[{i}].language"
            yield Issue(path, message, (path, "model.lora.variant", "model.lora.r"))


def _has_dora(recipe: Recipe) -> bool:
    return recipe.model.lora.r > 0 and recipe.model.lora.variant == "dora"


@rule(Recipe)
def alignment_is_learnt_on_shared_prefixes(recipe: Recipe) -> Iterator[Issue]:
    for i, stage in enumerate(recipe.stages):
        if stage.alignment.any() and not recipe.run.share_prefix:
            path = f"stages[{i}].alignment"
            settings = (f"{path}.words", f"{path}.boxes", f"{path}.phrases", "run.share_prefix")
            yield Issue(path, "is learnt on shared prefixes only; set run.share_prefix: true", settings)


@rule(Recipe)
def a_cache_holds_no_class_tokens(recipe: Recipe) -> Iterator[Issue]:
    for i, stage in enumerate(recipe.stages):
        if recipe.model.projector.type == "qformer" and stage.feature_cache is not None:
            path = f"stages[{i}].feature_cache"
            message = "holds no class tokens, which a qformer reads; leave it out"
            yield Issue(path, message, (path, "model.projector.type"))


@rule(Recipe)
def scores_in_training_need_a_whole_model(recipe: Recipe) -> Iterator[Issue]:
    if recipe.eval.every is not None and recipe.run.strategy == "zero3":
        message = (
            "under zero3 no process holds the whole model, and an answer whose length differs by a"
            " rounding would leave the others waiting for ever; leave eval.every out, or use zero2"
        )
        yield Issue("eval.every", message, ("eval.every", "run.strategy"))


@rule(Recipe)
def the_seed_is_one_that_random_generators_take(recipe: Recipe) -> Iterator[Issue]:
    if not -(2**63) <= recipe.seed < 2**63:
        yield Issue("seed", f"{recipe.seed} is no number of 64 bits", ("seed",))
