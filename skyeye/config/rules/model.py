"""Rules of ``model``: tower, projector, language model, prompt."""

from __future__ import annotations

from collections.abc import Iterator

from skyeye.config.issue import Issue
from skyeye.config.rules.registry import below, rule
from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    MLPProjectorConfig,
    PromptConfig,
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
    if vision.architecture != "eva" or min(vision.image_size, vision.patch_size) < 1:
        return
    if vision.image_size % vision.patch_size:
        message = f"{vision.image_size} is not a multiple of patch_size {vision.patch_size}"
        yield Issue("image_size", message, ("architecture", "image_size", "patch_size"))


@rule(VisionConfig)
def heads_share_the_width(vision: VisionConfig) -> Iterator[Issue]:
    if vision.architecture != "eva" or min(vision.width, vision.heads) < 1:
        return
    if vision.width % vision.heads:
        message = f"width {vision.width} is not a multiple of heads {vision.heads}"
        yield Issue("heads", message, ("architecture", "width", "heads"))


@rule(LinearProjectorConfig, MLPProjectorConfig)
def at_least_one_token_is_joined(projector: LinearProjectorConfig | MLPProjectorConfig) -> Iterator[Issue]:
    yield from below(projector, 1, "join_tokens")


@rule(LanguageConfig)
def fresh_weights_are_not_quantized(language: LanguageConfig) -> Iterator[Issue]:
    if language.quantize and language.pretrained is None:
        message = "fresh weights have to be trained, in 4 bits they cannot be; give pretrained"
        yield Issue("quantize", message, ("quantize", "pretrained"))


@rule(LanguageConfig)
def a_language_model_is_pretrained_or_fresh(language: LanguageConfig) -> Iterator[Issue]:
    if (language.pretrained is None) == (language.config is None):
        message = "give either pretrained (a directory or hub name) or config (to start from fresh weights), not both"
        yield Issue("", message, ("pretrained", "config"))


@rule(PromptConfig)
def lengths_of_a_prompt_are_at_least_one(prompt: PromptConfig) -> Iterator[Issue]:
    yield from below(prompt, 1, "max_txt_len", "max_context_len")


@rule(PromptConfig)
def the_template_has_one_place_for_the_question(prompt: PromptConfig) -> Iterator[Issue]:
    if prompt.template.count("{}") != 1:
        yield Issue("template", "must hold {} exactly once", ("template",))
