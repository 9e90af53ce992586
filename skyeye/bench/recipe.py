"""What a benchmark measures when a recipe is given: its model and, without a made distribution, its data."""

from __future__ import annotations

from itertools import islice

import torch

from skyeye.config.schema import ModelConfig, StageConfig
from skyeye.data.packing import merge_same_images, single_rows
from skyeye.data.sequence import GroupSequence, SequenceBuilder
from skyeye.models.build import build_model
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.train.loader import load_pixels
from skyeye.train.setup import RunSetup, prepare_model


def made_model(
    settings: ModelConfig, stage: StageConfig, seed: int, vocabulary: int, dtype: torch.dtype
) -> SkyEyeForConditionalGeneration:
    """A recipe's model with random weights and without its tokenizer, for a stage: made texts are random ids."""
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # a model of billions of parameters is built in the precision it is measured in
    try:
        model = build_model(settings, vocab_size=vocabulary)
    finally:
        torch.set_default_dtype(before)
    model.set_trainable(vision="frozen", projector=stage.projector, language=stage.language)
    return model


def run_groups(
    setup: RunSetup, count: int
) -> tuple[SkyEyeForConditionalGeneration, list[GroupSequence], dict[str, torch.Tensor]]:
    """The model with the weights a run starts from, the first groups of its last stage, and their pictures."""
    model, processor = prepare_model(setup)
    stage = setup.stages[-1]
    model.set_trainable(**{**stage.trained, "vision": "frozen"})
    mixture = setup.mixture(stage)
    prompt = stage.prompt(setup.model.prompt)
    builder = SequenceBuilder(processor.tokenizer, prompt, model.config.tokens_per_image)
    drawn = [mixture.draw(n) for n in islice(range(len(mixture)), count)]
    pixels = {image: load_pixels(image, setup.model.vision) for group in drawn for image in group.images}
    parts = [part for group in drawn for part in merge_same_images([group])]
    groups = [builder.group(part.records) for part in parts]
    return model, groups if builder.style.shares_prefix else single_rows(groups), pixels
