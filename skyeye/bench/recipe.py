"""What a benchmark measures when a recipe is given: its model and, without a made distribution, its data."""

from __future__ import annotations

from itertools import islice

import torch

from skyeye.config.schema import Recipe
from skyeye.data.sequence import GroupSequence, SequenceBuilder
from skyeye.models.build import build_model
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.train.loader import load_pixels
from skyeye.train.run import load_data, prepare_model
from skyeye.train.stages import stage_mixture


def made_model(recipe: Recipe, vocabulary: int, dtype: torch.dtype) -> SkyEyeForConditionalGeneration:
    """The recipe's model with random weights and without its tokenizer: made texts are random ids."""
    torch.manual_seed(recipe.seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # a model of billions of parameters is built in the precision it is measured in
    try:
        model = build_model(recipe.model, vocab_size=vocabulary)
    finally:
        torch.set_default_dtype(before)
    stage = recipe.stages[-1]
    model.set_trainable(vision="frozen", projector=stage.projector, language=stage.language)
    return model


def recipe_groups(
    recipe: Recipe, count: int
) -> tuple[SkyEyeForConditionalGeneration, list[GroupSequence], dict[str, torch.Tensor]]:
    """The recipe's model with the weights it starts from, the first groups of its last stage, and their pictures."""
    groups, _, _ = load_data(recipe)
    model, processor = prepare_model(recipe, groups, None)
    stage = recipe.stages[-1]
    model.set_trainable(vision="frozen", projector=stage.projector, language=stage.language)
    mixture = stage_mixture(recipe, stage, groups)
    builder = SequenceBuilder(processor.tokenizer, recipe.model.prompt, model.config.tokens_per_image)
    drawn = [mixture.draw(n) for n in islice(range(len(mixture)), count)]
    pixels = {image: load_pixels(image, recipe.model.vision) for group in drawn for image in group.images}
    return model, [builder.group(group.records) for group in drawn], pixels
