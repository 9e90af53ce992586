"""The steps that a plan reckons with: of the recipe's own data where they are at hand, otherwise made ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from skyeye.config.schema import Recipe, RunConfig, StageConfig
from skyeye.data.distributions import DISTRIBUTIONS, made_groups
from skyeye.data.packing import fill, merge_same_images, pack_step
from skyeye.data.sequence import GroupSequence, SequenceBuilder
from skyeye.errors import SkyEyeError
from skyeye.models.flops import supervised
from skyeye.models.prefix_attention import FLEX_BLOCK
from skyeye.train.memory import Load
from skyeye.train.run import load_data, recipe_tokenizer, resolve_epochs
from skyeye.train.stages import stage_mixture

#: Steps of a stage that are drawn, evenly over the stage.
SAMPLED_STEPS = 8

Steps = list[list[GroupSequence]]


@dataclass(frozen=True)
class PlannedData:
    """Sampled steps of each stage, by its name, and where they come from, in words."""

    origin: str
    steps: dict[str, Steps]
    recipe: Recipe  # with steps in the place of epochs
    vocabulary: int | None = None


def planned_data(recipe: Recipe, tokens_per_image: int, vocabulary: int) -> PlannedData:
    """Draw steps of every stage.

    Args:
        vocabulary: ids of made texts are below it.
    """
    missing = _missing(recipe)
    if missing is None:
        return _of_recipe(recipe, tokens_per_image)
    made = {}
    thousands = sum(source.images for source in DISTRIBUTIONS["skyeye968k"])
    stages = []
    for stage in recipe.stages:
        count = SAMPLED_STEPS * stage.groups_per_step
        groups = made_groups(
            "skyeye968k",
            count,
            tokens_per_image=tokens_per_image,
            vocabulary=vocabulary,
            branches=stage.branches,
        )
        made[stage.name] = [groups[first::SAMPLED_STEPS][: stage.groups_per_step] for first in range(SAMPLED_STEPS)]
        if stage.steps is None:
            steps = math.ceil(stage.epochs * thousands * 1000 / stage.groups_per_step)
            stage = replace(stage, steps=steps, epochs=None)
        stages.append(stage)
    origin = f"made groups with the numbers and lengths of SkyEye-968k, not this recipe's data: {missing}"
    return PlannedData(origin, made, replace(recipe, stages=stages))


def _missing(recipe: Recipe) -> str | None:
    """What keeps the recipe's own data from being read; None: nothing."""
    used = {entry.source for stage in recipe.stages for entry in stage.mixture}
    for name in sorted(used):
        if not Path(recipe.sources[name].path).exists():
            return f"there is no {recipe.sources[name].path}"
    tokenizer = recipe.model.tokenizer
    path = tokenizer.path or recipe.model.language.pretrained
    if tokenizer.train_vocab_size is None and (path is None or not Path(path).exists()):
        return f"there is no tokenizer {path}" if path else "the recipe names no tokenizer"
    return None


def _of_recipe(recipe: Recipe, tokens_per_image: int) -> PlannedData:
    groups, _, _ = load_data(recipe)
    recipe = resolve_epochs(recipe, groups)
    tokenizer = recipe_tokenizer(recipe, groups)
    builder = SequenceBuilder(tokenizer, recipe.model.prompt, tokens_per_image)
    drawn = {}
    for stage in recipe.stages:
        mixture, size = stage_mixture(recipe, stage, groups), stage.groups_per_step
        chosen = sorted({place * stage.steps // SAMPLED_STEPS for place in range(SAMPLED_STEPS)})
        drawn[stage.name] = [
            [
                builder.group(group.records)
                for group in merge_same_images([mixture.draw(n) for n in range(step * size, (step + 1) * size)])
            ]
            for step in chosen
        ]
    origin = f"the recipe's own sources, {SAMPLED_STEPS} steps of each stage drawn evenly over it"
    return PlannedData(origin, drawn, recipe, len(tokenizer))


def longest_pack(steps: Steps, processes: int, stage: StageConfig, run: RunConfig) -> Load:
    """The largest micro-batch of the sampled steps, or with ``run.tokens_per_pack`` one as large as that allows.

    Raises:
        SkyEyeError: a step does not divide among the processes, or a sample is longer than a pack.
    """
    steps = [rows(step, run.share_prefix) for step in steps]
    if run.tokens_per_pack is not None:
        packs = [fill(step, run.tokens_per_pack) for step in steps]
        if not all(packs):
            raise SkyEyeError("no sample fits into a pack", where="run.tokens_per_pack", remedy="raise it")
    else:
        packs = [pack for step in steps for mine in pack_step(step, processes, stage.accumulation) for pack in mine]
    return load_of(max(packs, key=lambda pack: sum(map(len, pack))))


def load_of(groups: Sequence[GroupSequence]) -> Load:
    """A pack as it is computed on a GPU: padded to whole blocks, with a blank image where it has none."""
    tokens = -(-sum(map(len, groups)) // FLEX_BLOCK) * FLEX_BLOCK
    return Load(tokens, max(1, sum(len(group.images) for group in groups)), max(1, supervised(groups)))


def rows(groups: Sequence[GroupSequence], share_prefix: bool) -> list[GroupSequence]:
    """The groups of a step; without shared prefixes one for every sample, as rows without padding."""
    if share_prefix:
        return list(groups)
    return [GroupSequence(group.images, group.prefix_ids, [branch]) for group in groups for branch in group.branches]
