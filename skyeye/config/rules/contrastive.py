"""Rules of two towers, of retrieval, and of the stages that learn them."""

from __future__ import annotations

from collections.abc import Iterator

from skyeye.config.issue import Issue
from skyeye.config.rules.registry import below, rule
from skyeye.config.schema import AdapterConfig, ModelConfig, Recipe, RetrievalConfig, StageConfig, TextConfig


@rule(TextConfig)
def sizes_of_the_text_side_are_at_least_one(text: TextConfig) -> Iterator[Issue]:
    yield from below(text, 1, "width", "depth", "heads", "vocab_size", "embedding")
    yield from below(text, 3, "context")
    if text.heads >= 1 and text.width % text.heads:
        yield Issue("heads", f"width {text.width} is not a multiple of heads {text.heads}", ("width", "heads"))


@rule(RetrievalConfig)
def sizes_of_retrieval_are_at_least_one(retrieval: RetrievalConfig) -> Iterator[Issue]:
    yield from below(retrieval, 1, "embedding", "longest_caption")


@rule(AdapterConfig)
def an_adapter_has_a_bottleneck(adapter: AdapterConfig) -> Iterator[Issue]:
    yield from below(adapter, 1, "bottleneck")
    if not 0 <= adapter.dropout < 1:
        yield Issue("dropout", f"{adapter.dropout} is not in 0 <= dropout < 1", ("dropout",))


@rule(ModelConfig)
def one_tower_sees_beside_the_text_side(model: ModelConfig) -> Iterator[Issue]:
    if model.text is not None and isinstance(model.vision, list):
        yield Issue("vision", "beside a text side one tower sees; give one section", ("vision", "text"))
    if model.text is not None and not isinstance(model.vision, list) and model.vision.layers is not None:
        message = "of two towers the last output is compared; leave layers out"
        yield Issue("vision.layers", message, ("vision.layers", "text"))
    if model.text is not None and model.retrieval is not None:
        yield Issue(
            "retrieval", "is a part of a language model; two towers compare by themselves", ("retrieval", "text")
        )


@rule(StageConfig)
def contrastive_is_not_negative(stage: StageConfig) -> Iterator[Issue]:
    yield from below(stage, 0, "contrastive")


@rule(StageConfig)
def pairs_are_compared_in_one_piece(stage: StageConfig) -> Iterator[Issue]:
    if not stage.contrastive:
        return
    if stage.accumulation > 1:
        message = "pairs of a step are compared with each other, so it cannot be cut into packs; use 1 and fewer images"
        yield Issue("accumulation", message, ("accumulation", "contrastive"))
    if stage.loss_normalisation == "micro_batch":
        message = "is the reference's for answers; pairs are counted over all processes: use global_tokens"
        yield Issue("loss_normalisation", message, ("loss_normalisation", "contrastive"))
    if stage.images_per_step < 2:
        message = "a single pair has nothing to be compared with; use 2 or more"
        yield Issue("images_per_step", message, ("images_per_step", "contrastive"))


@rule(StageConfig)
def kinds_belong_to_adapters(stage: StageConfig) -> Iterator[Issue]:
    if stage.trainable is None:
        return
    if stage.language != "lora":
        message = f"chooses what language: lora trains; language is {stage.language}"
        yield Issue("trainable", message, ("trainable", "language"))
    if "lora" not in stage.trainable:
        message = "names no lora; adapters that rest belong to language: frozen"
        yield Issue("trainable", message, ("trainable",))


@rule(Recipe)
def pairs_are_learnt_by_what_compares_them(recipe: Recipe) -> Iterator[Issue]:
    model = recipe.model
    for i, stage in enumerate(recipe.stages):
        path, text = f"stages[{i}].contrastive", f"stages[{i}].text"
        if stage.contrastive and model.text is None and model.retrieval is None:
            message = (
                "compares pictures with captions, for which the model has no part; give model.text or model.retrieval"
            )
            yield Issue(path, message, (path, "model.text", "model.retrieval"))
        if stage.text == "full" and model.text is None:
            yield Issue(text, "full, but there is no text side (model.text)", (text, "model.text"))


@rule(Recipe)
def two_towers_learn_pairs_alone(recipe: Recipe) -> Iterator[Issue]:
    if recipe.model.text is None:
        return
    for i, stage in enumerate(recipe.stages):
        here = f"stages[{i}]"
        if not stage.contrastive:
            message = "two towers learn from pairs; set contrastive: 1.0"
            yield Issue(f"{here}.contrastive", message, (f"{here}.contrastive", "model.text"))
        if stage.answers:
            message = "two towers give no answers; set answers: false"
            yield Issue(f"{here}.answers", message, (f"{here}.answers", "model.text"))
        if stage.alignment.any():
            message = "is of a language model's words; leave it out"
            yield Issue(f"{here}.alignment", message, (f"{here}.alignment", "model.text"))
        if stage.feature_cache is not None:
            message = "holds no class tokens, which two towers compare; leave it out"
            yield Issue(f"{here}.feature_cache", message, (f"{here}.feature_cache", "model.text"))
        parts = {"vision": stage.vision, "projector": stage.projector, "text": stage.text}
        if set(parts.values()) == {"frozen"} and recipe.model.text.adapter is None:
            message = "vision, projector and text are frozen and there is no model.text.adapter: nothing is learnt"
            yield Issue(here, message, (*(f"{here}.{part}" for part in parts), "model.text.adapter"))
        if stage.projector == "lora":
            message = "the projections of two towers have no adapters; use frozen or full"
            yield Issue(f"{here}.projector", message, (f"{here}.projector", "model.text"))


@rule(Recipe)
def pairs_are_learnt_by_whole_models(recipe: Recipe) -> Iterator[Issue]:
    if not any(stage.contrastive for stage in recipe.stages):
        return
    run, pairs = recipe.run, tuple(f"stages[{i}].contrastive" for i in range(len(recipe.stages)))
    if run.strategy.startswith("zero"):
        message = f"{run.strategy}, but stages with contrastive run under single and ddp"
        yield Issue("run.strategy", message, ("run.strategy", *pairs))
    if run.tokens_per_pack is not None:
        message = "cuts a step into packs, but its pairs are compared with each other; leave it out"
        yield Issue("run.tokens_per_pack", message, ("run.tokens_per_pack", *pairs))
    for name in ("gradient_checkpointing", "compile") if recipe.model.text is not None else ():
        if getattr(run, name):
            message = "is for language models; leave it out"
            yield Issue(f"run.{name}", message, (f"run.{name}", "model.text"))
