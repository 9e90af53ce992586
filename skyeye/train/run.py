"""A whole run: recipe -> data, tokenizer, model -> its stages in order -> run folder."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from skyeye.config.load import load_recipe, quick_recipe, recipe_to_yaml
from skyeye.config.schema import Recipe
from skyeye.data.files import write_json, write_whole
from skyeye.data.formats import check_source, read_with_problems, summary
from skyeye.data.formats.shards import open_groups
from skyeye.data.mixture import epoch_size
from skyeye.data.prompts import PromptStyle, prompt_style
from skyeye.data.record import Group, Record, group_by_image
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.checkpoint import load_checkpoint
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.precision import DTYPES, Part, in_precision
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.projectors import PROJECTORS, refuse_shared_prefix
from skyeye.models.tokenizer import load_tokenizer, train_tokenizer
from skyeye.train.background import CHORES, BackgroundTracker
from skyeye.train.distributed import rank, shut_down
from skyeye.train.examination import Examine
from skyeye.train.guards import record_event
from skyeye.train.interrupt import REQUEUE, Interrupt
from skyeye.train.resume import changed_data, changed_settings, clear_logs, trim_logs
from skyeye.train.stages import asked_to_stop, run_stage
from skyeye.train.state import clear_leftovers, latest_state, state_folders
from skyeye.train.trackers import check_trackers, start_trackers

LIBRARIES = ("torch", "transformers", "peft", "timm", "accelerate", "deepspeed", "numpy", "pillow")


def train(
    recipe_path: str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    quick: bool = False,
    examine: Examine | None = None,
) -> Path | None:
    """Run all stages of a recipe, or go on where an interrupted run stopped.

    Args:
        examine: what scores the benchmarks that ``eval.every`` asks for.

    Returns:
        The exported model of the last stage, or None when the run was interrupted (its state is saved).

    Raises:
        SystemExit: with :data:`REQUEUE`, when it was SIGTERM or SIGUSR1 that interrupted the run.
    """
    recipe = load_recipe(recipe_path, overrides)
    if quick:
        recipe = quick_recipe(recipe)
    check_trackers(recipe.run)
    folder = Path(recipe.folder)
    recipe_yaml = recipe_to_yaml(recipe)
    changed = None
    if resume and (folder / "recipe.yaml").is_file():
        changed = changed_settings(folder / "recipe.yaml", recipe_yaml)
        for line in changed:
            _say(f"changed since the run was started: {line}")
    position = _position(folder, recipe, resume)
    _say(f"run folder {folder}")
    last = folder / "checkpoints" / recipe.stages[-1].name
    if position[0] == len(recipe.stages):  # a launcher that starts every process again may come too late
        _say(f"all stages of this run are finished: {last}")
        return last

    groups, manifest, left_out = load_data(recipe)
    recipe = resolve_epochs(recipe, groups)
    first, state, start_step = position
    exported = folder / "checkpoints" / recipe.stages[first - 1].name if first else None
    if resume:
        changed_data(folder, manifest, state, exported)
    if rank() == 0:
        if resume:
            trim_logs(folder, recipe.stages[first].name, start_step)
        else:
            clear_logs(folder)
        write_run_folder(folder, recipe_yaml, manifest, left_out)
        if changed is not None:
            record_event(folder, "resumed", changed=changed)
    model, processor = prepare_model(recipe, groups, exported)
    tracker = None
    if rank() == 0 and (recipe.run.wandb != "off" or recipe.run.tensorboard):
        tracker = BackgroundTracker(CHORES, lambda: start_trackers(recipe.run, recipe.name, folder, manifest))

    with Interrupt() as interrupt:
        for stage in recipe.stages[first:]:
            accelerator, finished = run_stage(
                recipe,
                stage,
                model,
                processor,
                groups,
                folder,
                manifest=manifest,
                recipe_yaml=recipe_yaml,
                interrupt=interrupt,
                tracker=tracker,
                examine=examine,
                state=state,
                start_step=start_step,
            )
            last_stage = stage is recipe.stages[-1]
            finished = finished and (last_stage or not asked_to_stop(accelerator, interrupt))
            if not finished:
                words = [str(recipe_path), *overrides, *(["--quick"] if quick else []), "--resume"]
                what = "and saved" if state_folders(folder) else "before the first step: there is no state yet"
                _say(f"stopped {what}; go on with: skyeye train {' '.join(words)}")
                break
            state, start_step = None, 0
    if tracker is not None:
        tracker.finish()
    shut_down(accelerator)
    CHORES.finish()  # after the others have been let go
    if not finished and interrupt.requeue:
        raise SystemExit(REQUEUE)
    if not finished:
        return None
    _say(f"trained model: {last}")
    return last


def load_data(recipe: Recipe) -> tuple[dict[str, Sequence[Group]], dict, list[str]]:
    """The sources that the stages use: their groups, the manifest about them, a line for each record left out.

    Of shards only the index is read; what was left out of them is listed in their folder.
    """
    used = {entry.source for stage in recipe.stages for entry in stage.mixture}
    groups: dict[str, Sequence[Group]] = {}
    sources, left_out = {}, []
    for name, source in recipe.sources.items():
        if name in used and source.format == "shards":
            check_source(source, name)
            packed = open_groups(source.path, source.images, source.split, **source.options)
            groups[name] = packed
            sources[name] = {"records": packed.samples, "groups": len(packed), "fingerprint": packed.fingerprint}
            _say(f"source {name}: {packed.samples} samples of {len(packed)} images, from shards")
        elif name in used:
            records, problems = read_with_problems(source, name)
            left_out += [f"{name}\t{problem}" for problem in problems]
            if problems:
                _say(summary(problems, name))
            groups[name] = group_by_image(records)
            sources[name] = {
                "records": len(records),
                "groups": len(groups[name]),
                "left_out": len(problems),
                "fingerprint": fingerprint(records),
            }
            _say(f"source {name}: {len(records)} samples of {len(groups[name])} images")
    return groups, {"seed": recipe.seed, "versions": versions(), "sources": sources}, left_out


def resolve_epochs(recipe: Recipe, groups: Mapping[str, Sequence[Group]]) -> Recipe:
    """The recipe with the steps of every stage that says ``epochs``; from here on only steps count.

    Raises:
        SkyEyeError: the warm-up takes all of them.
    """
    stages = []
    for stage in recipe.stages:
        if stage.steps is None:
            size = epoch_size(groups, stage.mixture, stage.name)
            steps = math.ceil(stage.epochs * size / stage.groups_per_step)
            if stage.optimizer.warmup_steps >= steps:
                raise SkyEyeError(
                    f"{stage.optimizer.warmup_steps} leaves nothing of {steps} steps ({stage.epochs:g} epochs)",
                    where=f"stages.{stage.name}.optimizer.warmup_steps",
                    remedy="lower it or train for more epochs",
                )
            _say(f"stage {stage.name}: {stage.epochs:g} epochs of {size} images are {steps} steps")
            stage = dataclasses.replace(stage, steps=steps, epochs=None)
        stages.append(stage)
    return dataclasses.replace(recipe, stages=stages)


def fingerprint(records: Sequence[Record]) -> str:
    """A short hash of the questions and answers of a source: two runs with the same one saw the same data."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(record.id.encode())
        for turn in record.turns:
            digest.update(f"\0{turn.task}\0{turn.question}\0{turn.answer}\0{turn.mentions}".encode())
    return digest.hexdigest()[:16]


def prepare_model(
    recipe: Recipe, groups: Mapping[str, Sequence[Group]], exported: Path | None
) -> tuple[SkyEyeForConditionalGeneration, SkyEyeProcessor]:
    """The model and processor a run starts with: an earlier stage's export, or built from the recipe's parts.

    Raises:
        SkyEyeError: questions are to share a prefix, and the projector reads the question; and what building raises.
    """
    if recipe.run.share_prefix:
        refuse_shared_prefix(PROJECTORS[recipe.model.projector.type])
    torch.manual_seed(recipe.seed)  # fresh parts get the same weights on every process
    dtype, frozen = DTYPES[recipe.run.frozen], never_trained(recipe)
    if exported is not None:
        model, processor = open_checkpoint(exported)
        return in_precision(model, dtype, frozen), processor
    tokenizer = recipe_tokenizer(recipe, groups)
    processor = SkyEyeProcessor.from_config(recipe.model, tokenizer)
    model = build_model(recipe.model, tokenizer, dtype=dtype if "language" in frozen else torch.float32)
    in_precision(model, dtype, frozen)
    if recipe.model.checkpoint:
        load_checkpoint(model, recipe.model.checkpoint)
    if rank() == 0:
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        tokens = model.config.tokens_per_image
        _say(f"model: {millions:.2f} M parameters, {tokens} tokens an image, vocabulary {len(tokenizer)}")
    return model, processor


def recipe_tokenizer(recipe: Recipe, groups: Mapping[str, Sequence[Group]]) -> PreTrainedTokenizerFast:
    """The tokenizer the recipe names, or one learnt from its data."""
    settings = recipe.model.tokenizer
    if settings.train_vocab_size:
        texts = _texts(groups, prompt_style(recipe.model.prompt))
        return train_tokenizer(texts, settings.train_vocab_size, box_tokens=settings.box_tokens)
    return load_tokenizer(settings.path or recipe.model.language.pretrained)


def never_trained(recipe: Recipe) -> list[Part]:
    """The parts whose own weights no stage of the recipe changes: those that ``run.frozen`` is about."""
    return [part for part in ("vision", "language") if all(getattr(s, part) != "full" for s in recipe.stages)]


def write_run_folder(folder: Path, recipe_yaml: str, manifest: dict, left_out: Sequence[str]) -> None:
    """What a reader of the run needs to repeat it: the recipe as resolved, seed, versions, data fingerprint, and every
    record that was left out."""
    write_whole(folder / "recipe.yaml", recipe_yaml)  # half a recipe would not equal that of a run to resume
    environment = {"python": sys.version.split()[0], "platform": platform.platform(), "command": sys.argv, **manifest}
    write_json(folder / "environment.json", environment, indent=1)  # says which data a run to resume has seen
    write_whole(folder / "left_out.txt", (f"{line}\n" for line in left_out))


def versions() -> dict[str, str]:
    """Versions of the libraries that take part in the numbers."""
    return {name: version(name) for name in LIBRARIES}


def _position(folder: Path, recipe: Recipe, resume: bool) -> tuple[int, Path | None, int]:
    """Where a run begins: (index of the stage, state to load or None, finished steps of that stage)."""
    if resume and rank() == 0:
        clear_leftovers(folder)
    names = [stage.name for stage in recipe.stages]
    finished = [name for name in names if (folder / "checkpoints" / name / "manifest.json").is_file()]
    if not resume:
        if finished or state_folders(folder):
            raise SkyEyeError(
                "the folder already holds a run",
                where=str(folder),
                remedy="add --resume to go on with it, or choose another output_dir=...",
            )
        if rank() == 0:
            clear_leftovers(folder)
        return 0, None, 0
    first = len(finished)
    if first == len(names):
        return first, None, 0
    found = latest_state(folder, names[first])
    for line in found[2] if found else []:
        _say(line)
    if found:
        _say(f"going on after step {found[1]['step']} of stage {names[first]}")
        return first, found[0], found[1]["step"]
    _say(f"there is no state of stage {names[first]} yet: it starts afresh")
    return first, None, 0


def _texts(groups: Mapping[str, Sequence[Group]], style: PromptStyle) -> Iterator[str]:
    """Every text the tokenizer has to spell: questions, answers and the words of known regions, each once.

    Of texts that were given out only a hash of 8 bytes is kept: a large set is read group by group.
    """
    seen: set[bytes] = set()
    for members in groups.values():
        for group in members:
            for record in group.records:
                said = [text for turn in record.turns for text in (style.question(turn), style.answer(turn))]
                for text in (*said, *(region.phrase for region in record.regions)):
                    short = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                    if short not in seen:
                        seen.add(short)
                        yield text


def _say(message: str) -> None:
    if rank() == 0:
        print(message, flush=True)
