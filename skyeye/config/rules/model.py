"""Rules of ``model``: tower, projector, language model, prompt."""

from __future__ import annotations

from collections.abc import Iterator

from skyeye.config.issue import Issue
from skyeye.config.rules.registry import below, rule
from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    MLPProjectorConfig,
    ModelConfig,
    NovaPoolerProjectorConfig,
    PoolerProjectorConfig,
    PromptConfig,
    QFormerProjectorConfig,
    TokenizerConfig,
    VisionConfig,
)


@rule(VisionConfig)
def sizes_of_the_tower_are_at_least_one(vision: VisionConfig) -> Iterator[Issue]:
    yield from below(vision, 1, "image_size", "patch_size", "width", "depth", "heads")


@rule(VisionConfig)
def a_timm_tower_has_a_name(vision: VisionConfig) -> Iterator[Issue]:
    if vision.architecture == "timm" and not vision.name:
        message = "architecture 'timm' needs the name of a timm model, e.g. vit_base_patch16_clip_224"
        yield Issue("name", message, ("architecture", "name"))


@rule(VisionConfig)
def a_convolutional_stem_belongs_to_timm(vision: VisionConfig) -> Iterator[Issue]:
    if vision.stem == "conv" and vision.architecture != "timm":
        message = "'conv' belongs to architecture: timm, with the name of a ViT"
        yield Issue("stem", message, ("stem", "architecture"))


@rule(VisionConfig)
def patches_fill_the_image(vision: VisionConfig) -> Iterator[Issue]:
    if vision.architecture == "timm" or min(vision.image_size, vision.patch_size) < 1:
        return
    if vision.image_size % vision.patch_size:
        message = f"{vision.image_size} is not a multiple of patch_size {vision.patch_size}"
        yield Issue("image_size", message, ("architecture", "image_size", "patch_size"))


@rule(VisionConfig)
def heads_share_the_width(vision: VisionConfig) -> Iterator[Issue]:
    if vision.architecture == "timm" or min(vision.width, vision.heads) < 1:
        return
    if vision.width % vision.heads:
        message = f"width {vision.width} is not a multiple of heads {vision.heads}"
        yield Issue("heads", message, ("architecture", "width", "heads"))


@rule(VisionConfig)
def at_least_one_level_is_read(vision: VisionConfig) -> Iterator[Issue]:
    if vision.layers is not None and not vision.layers:
        yield Issue("layers", "names no level; give at least one, or null for the last output", ("layers",))


@rule(VisionConfig)
def levels_are_in_the_tower(vision: VisionConfig) -> Iterator[Issue]:
    """Of a timm tower the depth is known when it is built."""
    if vision.architecture == "timm" or vision.depth < 1:
        return
    for i, layer in enumerate(vision.layers or ()):
        if not -vision.depth - 1 <= layer <= vision.depth:
            message = f"there is no level {layer} in a tower of depth {vision.depth}"
            yield Issue("layers", message, (f"layers[{i}]", "depth", "architecture"))


@rule(VisionConfig)
def a_norm_of_levels_has_levels(vision: VisionConfig) -> Iterator[Issue]:
    if vision.level_norm and vision.layers is None:
        message = "is only used with layers; the last output has the tower's norm where the tower has one"
        yield Issue("level_norm", message, ("level_norm", "layers"))


@rule(VisionConfig)
def eva_has_no_norm_for_its_levels(vision: VisionConfig) -> Iterator[Issue]:
    if vision.level_norm and vision.architecture == "eva":
        message = "the eva tower has no final norm, as in the reference; use architecture: timm or leave it out"
        yield Issue("level_norm", message, ("level_norm", "architecture"))


@rule(ModelConfig)
def several_towers_are_at_least_two(model: ModelConfig) -> Iterator[Issue]:
    if isinstance(model.vision, list) and len(model.vision) < 2:
        message = "a list holds two towers or more; write one tower as a section, without the dash"
        yield Issue("vision", message, ("vision",))


@rule(LinearProjectorConfig, MLPProjectorConfig)
def at_least_one_token_is_joined(projector: LinearProjectorConfig | MLPProjectorConfig) -> Iterator[Issue]:
    yield from below(projector, 1, "join_tokens")


@rule(PoolerProjectorConfig, NovaPoolerProjectorConfig)
def a_pooler_has_queries_and_layers(projector: PoolerProjectorConfig | NovaPoolerProjectorConfig) -> Iterator[Issue]:
    yield from below(projector, 1, "layers", "heads", "mlp_ratio")
    if not projector.queries or min(projector.queries) < 1:
        yield Issue("queries", "give a number of at least 1 for each level", ("queries",))


@rule(QFormerProjectorConfig)
def sizes_of_the_qformer_are_at_least_one(projector: QFormerProjectorConfig) -> Iterator[Issue]:
    yield from below(projector, 1, "queries", "width", "layers", "heads", "mlp_width", "cross_every", "vocab_size")
    if projector.heads >= 1 and projector.width % projector.heads:
        message = f"width {projector.width} is not a multiple of heads {projector.heads}"
        yield Issue("heads", message, ("width", "heads"))
    if not 3 <= projector.longest_question <= projector.positions:
        message = f"{projector.longest_question} is not in 3 <= longest_question <= positions"
        yield Issue("longest_question", message, ("longest_question", "positions"))


@rule(NovaPoolerProjectorConfig)
def a_token_passes_some_of_the_experts(projector: NovaPoolerProjectorConfig) -> Iterator[Issue]:
    yield from below(projector, 0, "experts")
    if projector.experts > 0 and not 1 <= projector.selected <= projector.experts:
        message = f"{projector.selected} of {projector.experts} experts cannot be chosen"
        yield Issue("selected", message, ("selected", "experts"))


@rule(LanguageConfig)
def fresh_weights_are_not_quantized(language: LanguageConfig) -> Iterator[Issue]:
    if language.quantize and language.pretrained is None:
        message = "fresh weights have to be trained, in 4 bits they cannot be; give pretrained"
        yield Issue("quantize", message, ("quantize", "pretrained"))


@rule(LanguageConfig)
def heads_share_keys_and_values(language: LanguageConfig) -> Iterator[Issue]:
    heads, shared = ((language.config or {}).get(f"num_{name}_heads") for name in ("attention", "key_value"))
    if isinstance(heads, int) and isinstance(shared, int) and (shared < 1 or heads % shared):
        message = f"num_attention_heads {heads} is not a multiple of num_key_value_heads {shared}"
        yield Issue("config", message, ("config",))


@rule(ModelConfig)
def a_language_model_is_pretrained_or_fresh(model: ModelConfig) -> Iterator[Issue]:
    settings = ("language.pretrained", "language.config", "text")
    named, fresh = model.language.pretrained is not None, model.language.config is not None
    if model.text is not None:
        if named or fresh:
            message = "two towers (model.text) have no language model; leave it out, or leave out model.text"
            yield Issue("language", message, settings)
    elif named == fresh:
        message = "give either pretrained (a directory or hub name) or config (to start from fresh weights), not both"
        yield Issue("language", message, settings)


@rule(LoraConfig)
def numbers_of_adapters_are_in_range(lora: LoraConfig) -> Iterator[Issue]:
    yield from below(lora, 0, "r")
    yield from below(lora, 1, "alpha")
    if not 0 <= lora.dropout < 1:
        yield Issue("dropout", f"{lora.dropout} is not in 0 <= dropout < 1", ("dropout",))


@rule(LoraConfig)
def adapters_have_their_layers(lora: LoraConfig) -> Iterator[Issue]:
    if lora.r > 0 and not lora.target_modules:
        message = "names no layer; give some, e.g. [q_proj, v_proj], or r: 0 for no adapters"
        yield Issue("target_modules", message, ("target_modules", "r"))


@rule(TokenizerConfig)
def a_tokenizer_is_read_or_learnt(tokenizer: TokenizerConfig) -> Iterator[Issue]:
    if tokenizer.path and tokenizer.train_vocab_size:
        message = "give either path or train_vocab_size (the other as null), not both"
        yield Issue("", message, ("path", "train_vocab_size"))


@rule(PromptConfig)
def lengths_of_a_prompt_are_at_least_one(prompt: PromptConfig) -> Iterator[Issue]:
    yield from below(prompt, 1, "max_txt_len", "max_context_len")


@rule(PromptConfig)
def the_template_has_one_place_for_the_question(prompt: PromptConfig) -> Iterator[Issue]:
    if prompt.template.count("{}") != 1:
        yield Issue("template", "must hold {} exactly once", ("template",))


@rule(PromptConfig)
def system_and_template_have_their_style(prompt: PromptConfig) -> Iterator[Issue]:
    if prompt.chat_template is not None and prompt.style != "chat_template":
        yield Issue("chat_template", "is only used with style: chat_template", ("chat_template", "style"))
    if prompt.system is not None and prompt.style in ("minigpt_v2", "minigpt_v2_uav", "plain", "rsgpt"):
        yield Issue("system", f"style: {prompt.style} has no place for it", ("system", "style"))
