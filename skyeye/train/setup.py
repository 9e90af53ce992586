"""What a run is made of, read from its recipe once: data, stages with their steps, tokenizer, model.

Used by whoever needs a part of a run: ``train``, ``plan``, ``bench``, the feature cache.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from skyeye.config.schema import (
    LanguageKind,
    ModelConfig,
    PromptConfig,
    Recipe,
    RunConfig,
    SourceConfig,
    StageConfig,
    Trainable,
)
from skyeye.data.formats import summary
from skyeye.data.groups import GroupSource, open_source
from skyeye.data.mixture import Mixture, epoch_size
from skyeye.data.prompts import PromptStyle, prompt_style, unplaced_system
from skyeye.errors import SkyEyeError
from skyeye.models.base import NO_BASE, Base, base_of, read_base, replaced
from skyeye.models.build import build_model
from skyeye.models.checkpoint import load_checkpoint
from skyeye.models.contrastive import ContrastiveObjective
from skyeye.models.described import check_processing
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.objective import TrainingObjective
from skyeye.models.precision import DTYPES, Part, in_precision
from skyeye.models.pretrained import open_checkpoint, parts_held
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.projectors import PROJECTORS, refuse_shared_prefix
from skyeye.models.tokenizer import load_tokenizer, train_tokenizer
from skyeye.models.two_towers import TwoTowers, TwoTowersProcessor
from skyeye.models.two_towers.build import build_two_towers, open_two_towers, tokenizer_of
from skyeye.models.two_towers.words import CaptionTokenizer
from skyeye.train.checkpoint.ingredients import contents, files_of_model
from skyeye.train.parallel.distributed import print_once
from skyeye.train.parallel.placement import first_device
from skyeye.train.precision import with_precision

LIBRARIES = ("torch", "transformers", "peft", "timm", "accelerate", "deepspeed", "numpy", "pillow")


@dataclass(frozen=True)
class RunData:
    """The sources that the stages of a run draw from.

    Attributes:
        groups: the groups of each source, by its name.
        sources: what a run folder says about each: its numbers and its fingerprint.
        skipped: a line for each record that was skipped; those of shards are listed in their folder.
    """

    groups: dict[str, GroupSource]
    sources: dict[str, dict[str, Any]]
    skipped: list[str]


@dataclass(frozen=True)
class PlannedStage:
    """One stage with nothing left open.

    Attributes:
        number: its place in the run, from 0.
        settings: its section of the recipe.
        steps: how long it is, whether the recipe says steps or epochs.
        seed: of the run.
    """

    number: int
    settings: StageConfig
    steps: int
    seed: int

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def trained(self) -> dict[str, Trainable]:
        """What is trained of each part: the arguments of ``set_trainable``."""
        return {part: getattr(self.settings, part) for part in ("vision", "projector", "language")}

    @property
    def kinds(self) -> list[LanguageKind]:
        """What of the language model ``language: lora`` trains."""
        return self.settings.trainable or ["lora"]

    def prompt(self, of_model: PromptConfig) -> PromptConfig:
        """How its rows are written: as the model's, or in a style of its own."""
        return of_model if self.settings.style is None else replace(of_model, style=self.settings.style)

    def mixture(self, groups: Mapping[str, GroupSource]) -> Mixture:
        """The order of its data."""
        settings = self.settings
        return Mixture(
            {entry.source: groups[entry.source] for entry in settings.mixture},
            settings.mixture,
            seed=self.seed,
            stage=self.name,
            total_groups=self.steps * settings.images_per_step,
            questions_per_image=settings.questions_per_image,
            sampling=settings.sampling,
            temperature=settings.temperature,
        )

    def objective(
        self, model: SkyEyeForConditionalGeneration | TwoTowers, box_token_ids: Sequence[int] | None
    ) -> TrainingObjective | ContrastiveObjective:
        """Choose what is trained of ``model``, and put the losses of the stage around it.

        Args:
            box_token_ids: of the model's tokenizer; None where numbers are no tokens.
        """
        settings = self.settings
        if isinstance(model, TwoTowers):
            model.set_trainable(vision=settings.vision, projector=settings.projector, text=settings.text)
            return ContrastiveObjective(model, settings.contrastive)
        model.set_trainable(**self.trained, kinds=self.kinds)
        return TrainingObjective(
            model,
            answers=self.settings.answers,
            contrastive=settings.contrastive,
            alignment=self.settings.alignment,
            box_token_smoothing=self.settings.box_token_smoothing,
            box_token_noise=self.settings.box_token_noise,
            box_token_ids=box_token_ids,
        )


@dataclass(frozen=True)
class RunSetup:
    """What a run is made of.

    Attributes:
        sources: those of the recipe, used by a stage or not.
        data: what the stages draw from.
        stages: in their order.
        parts: fingerprints of the files that the model is built from, by setting, where a run has looked at them.
    """

    seed: int
    model: ModelConfig
    run: RunConfig
    sources: dict[str, SourceConfig]
    data: RunData
    stages: list[PlannedStage]
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def manifest(self) -> dict[str, Any]:
        """What everything that the run writes says about it."""
        about = {"seed": self.seed, "versions": dict(library_versions())}
        return {**about, "sources": self.data.sources, "parts": self.parts}

    def look_at_files(self) -> None:
        """Note what the data and the model are made of, besides texts and settings: for who goes on with the run."""
        self.parts.update(files_of_model(self.model))
        for name, groups in self.data.groups.items():
            self.data.sources[name]["contents"] = contents(groups)

    def base(self, stage: PlannedStage) -> Base:
        """What the export of a stage need not hold: parts that no stage so far has trained, as files hold them."""
        if self.run.export == "merged" or self.model.text is not None:
            return NO_BASE
        so_far = [planned.settings for planned in self.stages[: stage.number + 1]]
        held = set() if self.model.checkpoint is None else parts_held(self.model.checkpoint)
        return base_of(self.model, set(never_trained(so_far)) - held)

    def mixture(self, stage: PlannedStage) -> Mixture:
        """The order of the data of a stage."""
        return stage.mixture(self.data.groups)


def setup_run(recipe: Recipe) -> RunSetup:
    """Read the data of a recipe and plan its stages; a precision that the recipe leaves open is chosen.

    Raises:
        SkyEyeError: questions are to share a prefix, and the projector reads the question; a source cannot be read; the
            warm-up of a stage takes all of its epochs.
    """
    recipe = with_precision(recipe)
    if recipe.run.share_prefix:
        refuse_shared_prefix(PROJECTORS[recipe.model.projector.type])
    data = load_data(recipe.sources, recipe.stages, index=recipe.run.source_index)
    for line in remarks(recipe.model.prompt, recipe.sources, data.groups):
        print_once(line)
    stages = plan_stages(recipe.stages, data.groups, recipe.seed)
    return RunSetup(recipe.seed, recipe.model, recipe.run, recipe.sources, data, stages)


def load_data(sources: Mapping[str, SourceConfig], stages: Sequence[StageConfig], *, index: bool = True) -> RunData:
    """Read the sources that the stages use. Of shards only the index is read.

    Args:
        index: see :func:`~skyeye.data.groups.open_source`.
    """
    used = {entry.source for stage in stages for entry in stage.mixture}
    data = RunData({}, {}, [])
    for name in (name for name in sources if name in used):
        groups, problems = open_source(sources[name], name, index=index)
        data.groups[name] = groups
        data.skipped.extend(f"{name}\t{problem}" for problem in problems)
        if problems:
            print_once(summary(problems, name))
        data.sources[name] = {
            "records": groups.samples,
            "groups": len(groups),
            "skipped": sum(problem.count for problem in problems),
            "fingerprint": groups.fingerprint,
        }
        print_once(f"source {name}: {groups.samples} samples of {len(groups)} images")
    return data


def remarks(
    prompt: PromptConfig, sources: Mapping[str, SourceConfig], groups: Mapping[str, GroupSource]
) -> Iterator[str]:
    """What a person should know of the data before they are trained on: rows of evaluation, words nobody writes."""
    unplaced = None if prompt_style(prompt).has_system else unplaced_system(prompt.style)
    for name, source in groups.items():
        for split in sorted(source.splits.keys() - {"train", sources[name].split}):
            count = source.splits[split]
            yield (
                f"source {name}: {count} of {source.samples} samples are of split {split} and are trained on;"
                f" set sources.{name}.split: train to leave them out"
            )
        if source.system_turns and unplaced:
            yield f"source {name}: what the system says before {source.system_turns} samples {unplaced}"


def plan_stages(stages: Sequence[StageConfig], groups: Mapping[str, GroupSource], seed: int) -> list[PlannedStage]:
    """The stages, with steps in the place of epochs.

    Raises:
        SkyEyeError: the warm-up of a stage takes all of its epochs.
    """
    planned = []
    for number, stage in enumerate(stages):
        steps = stage.steps
        if steps is None:
            size = epoch_size(groups, stage.mixture, stage.name)
            steps = steps_of_epochs(stage, size)
            if stage.optimizer.warmup_steps >= steps:
                raise SkyEyeError(
                    f"{stage.optimizer.warmup_steps} leaves nothing of {steps} steps ({stage.epochs:g} epochs)",
                    where=f"stages.{stage.name}.optimizer.warmup_steps",
                    remedy="lower it or train for more epochs",
                )
            print_once(f"stage {stage.name}: {stage.epochs:g} epochs of {size} images are {steps} steps")
        planned.append(PlannedStage(number, stage, steps, seed))
    return planned


def steps_of_epochs(stage: StageConfig, images: int) -> int:
    """The steps of a stage that says ``epochs``, of which one is ``images`` images."""
    return math.ceil(stage.epochs * images / stage.images_per_step)


def prepare_model(
    setup: RunSetup, exported: Path | None = None
) -> tuple[SkyEyeForConditionalGeneration | TwoTowers, SkyEyeProcessor | TwoTowersProcessor]:
    """The model and processor a run starts with: an earlier stage's export, or built from the recipe's parts.

    Raises:
        SkyEyeError: what building and loading raise.
    """
    torch.manual_seed(setup.seed)  # fresh parts get the same weights on every process
    settings, dtype = setup.model, DTYPES[setup.run.frozen]
    if settings.text is not None:
        return _prepare_two_towers(settings, setup.data.groups, exported)
    frozen = never_trained([stage.settings for stage in setup.stages])
    precision = {part: dtype for part in frozen}
    device = first_device(setup.run.strategy)
    if exported is not None:
        return open_checkpoint(exported, precision=precision, device=device)
    tokenizer = prepare_tokenizer(settings, setup.data.groups)
    processor = SkyEyeProcessor.from_config(settings, tokenizer)
    for line in check_processing(processor, Path(settings.checkpoint)) if settings.checkpoint else ():
        print_once(line)
    model = build_model(settings, tokenizer, precision=precision, device=device)
    in_precision(model, dtype, frozen)
    if settings.checkpoint:
        if Path(settings.checkpoint).is_dir():
            replaced(read_base(Path(settings.checkpoint)), settings, settings.checkpoint)
        load_checkpoint(model, settings.checkpoint)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    tokens = model.config.tokens_per_image
    print_once(f"model: {millions:.2f} M parameters, {tokens} tokens an image, vocabulary {len(tokenizer)}")
    return model, processor


def _prepare_two_towers(
    settings: ModelConfig, groups: Mapping[str, GroupSource], exported: Path | None
) -> tuple[TwoTowers, TwoTowersProcessor]:
    """The same for two towers."""
    if exported is not None:
        return open_two_towers(exported)
    if settings.tokenizer.train_vocab_size:
        words = CaptionTokenizer(prepare_tokenizer(settings, groups), settings.text.context)
    else:
        words = tokenizer_of(settings)
    model = build_two_towers(settings, words)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    print_once(f"model: two towers, {millions:.2f} M parameters, vocabulary {words.vocab_size}")
    return model, TwoTowersProcessor.from_config(settings, words)


def prepare_tokenizer(settings: ModelConfig, groups: Mapping[str, GroupSource]) -> PreTrainedTokenizerFast:
    """The tokenizer the recipe names, or one learnt from its data."""
    chosen = settings.tokenizer
    if chosen.train_vocab_size:
        texts = texts_of(groups, prompt_style(settings.prompt))
        return train_tokenizer(texts, chosen.train_vocab_size, box_tokens=chosen.box_tokens)
    return load_tokenizer(chosen.path or settings.language.pretrained)


def never_trained(stages: Sequence[StageConfig]) -> list[Part]:
    """The parts whose own weights none of the stages changes: those that ``run.frozen`` is about."""

    def stays(stage: StageConfig, part: str) -> bool:
        own = part == "language" and bool({"bias", "norm"} & set(stage.trainable or ()))
        return getattr(stage, part) != "full" and not own

    return [part for part in ("vision", "language") if all(stays(stage, part) for stage in stages)]


@cache  # each one is read from a file of the library, and everything that a run writes says it
def library_versions() -> Mapping[str, str]:
    """Versions of the libraries that take part in the numbers, as far as they are installed."""
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):  # DeepSpeed, where nothing but single and ddp is wanted
            found[name] = version(name)
    return found


def texts_of(groups: Mapping[str, GroupSource], style: PromptStyle) -> Iterator[str]:
    """Every text the tokenizer has to spell: questions, answers and the words of known regions, each once.

    Of texts that were given out only a hash of 8 bytes is kept: a large set is read group by group.
    """
    seen: set[bytes] = set()
    for members in groups.values():
        for group in members:
            for record in group.records:
                said = [text for turn in record.turns for text in (style.question(turn), style.answer(turn))]
                said += [turn.system for turn in record.turns if turn.system is not None]
                for text in (*said, *(region.phrase for region in record.regions)):
                    short = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                    if short not in seen:
                        seen.add(short)
                        yield text
