"""The steps that a plan reckons with: of the recipe's own data where they are at hand, otherwise made ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skyeye.config.schema import ModelConfig, Recipe, RunConfig, SourceConfig, StageConfig
from skyeye.data.packing import fill, merge_same_images, pack_step, single_rows
from skyeye.data.sequence import GroupSequence, SequenceBuilder
from skyeye.errors import SkyEyeError
from skyeye.models.flops import supervised
from skyeye.models.prefix_attention import FLEX_BLOCK
from skyeye.plan.memory import Load
from skyeye.plan.workloads import DISTRIBUTIONS, made_groups
from skyeye.train.setup import PlannedStage, RunSetup, prepare_tokenizer, setup_run, steps_of_epochs

#: Steps of a stage that are drawn, evenly over the stage.
SAMPLED_STEPS = 8

SampledSteps = list[list[GroupSequence]]


@dataclass(frozen=True)
class PlannedData:
    """Sampled steps of each stage, by its name, and where they come from, in words."""

    origin: str
    steps: dict[str, SampledSteps]
    stages: list[PlannedStage]
    vocabulary: int | None = None


def planned_data(recipe: Recipe, tokens_per_image: int, vocabulary: int) -> PlannedData:
    """Draw steps of every stage.

    Args:
        vocabulary: ids of made texts are below it.
    """
    used = {entry.source: recipe.sources[entry.source] for stage in recipe.stages for entry in stage.mixture}
    missing = _missing(used, recipe.model)
    if missing is None:
        return _of_recipe(setup_run(recipe), tokens_per_image)
    made = {}
    thousands = sum(source.images for source in DISTRIBUTIONS["skyeye968k"])
    stages = []
    for number, stage in enumerate(recipe.stages):
        count = SAMPLED_STEPS * stage.images_per_step
        groups = made_groups(
            "skyeye968k",
            count,
            tokens_per_image=tokens_per_image,
            vocabulary=vocabulary,
            questions_per_image=stage.questions_per_image,
        )
        made[stage.name] = [groups[first::SAMPLED_STEPS][: stage.images_per_step] for first in range(SAMPLED_STEPS)]
        steps = stage.steps if stage.steps is not None else steps_of_epochs(stage, thousands * 1000)
        stages.append(PlannedStage(number, stage, steps, recipe.seed))
    origin = f"made groups with the numbers and lengths of SkyEye-968k, not this recipe's data: {missing}"
    return PlannedData(origin, made, stages)


def missing_source(sources: Mapping[str, SourceConfig]) -> str | None:
    """The first source that is not on this machine, in words; None: all are."""
    paths = [sources[name].path for name in sorted(sources)]
    return next((f"there is no {path}" for path in paths if not Path(path).exists()), None)


def _missing(sources: Mapping[str, SourceConfig], settings: ModelConfig) -> str | None:
    """What keeps a run's own data from being read; None: nothing."""
    if (source := missing_source(sources)) is not None:
        return source
    tokenizer = settings.tokenizer
    path = tokenizer.path or settings.language.pretrained
    if tokenizer.train_vocab_size is None and (path is None or not Path(path).exists()):
        return f"there is no tokenizer {path}" if path else "the recipe names no tokenizer"
    return None


def _of_recipe(setup: RunSetup, tokens_per_image: int) -> PlannedData:
    tokenizer = prepare_tokenizer(setup.model, setup.data.groups)
    drawn = {}
    for stage in setup.stages:
        builder = SequenceBuilder(tokenizer, stage.prompt(setup.model.prompt), tokens_per_image)
        mixture, size = setup.mixture(stage), stage.settings.images_per_step
        chosen = sorted({place * stage.steps // SAMPLED_STEPS for place in range(SAMPLED_STEPS)})
        drawn[stage.name] = [
            rows(
                [
                    builder.group(group.records)
                    for group in merge_same_images([mixture.draw(n) for n in range(step * size, (step + 1) * size)])
                ],
                builder.style.shares_prefix,
            )
            for step in chosen
        ]
    origin = f"the recipe's own sources, {SAMPLED_STEPS} steps of each stage drawn evenly over it"
    return PlannedData(origin, drawn, setup.stages, len(tokenizer))


def longest_pack(steps: SampledSteps, processes: int, stage: StageConfig, run: RunConfig) -> Load:
    """The largest micro-batch of the sampled steps, or with ``run.tokens_per_pack`` one as large as that allows.

    Raises:
        SkyEyeError: a step does not divide among the processes, or a sample is longer than a pack.
    """
    steps = [rows(step, run.share_prefix) for step in steps]
    if run.tokens_per_pack is not None:
        packs = [fill(step, run.tokens_per_pack, padded=not run.share_prefix) for step in steps]
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
    return single_rows(groups)
