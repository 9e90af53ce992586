"""What a training run will read and write, looked at before anything is read: with the other mistakes of its recipe."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from skyeye.config.issue import Issue
from skyeye.config.load import load_recipe
from skyeye.config.schema import Recipe
from skyeye.data.file_kind import HEAD, describe_content
from skyeye.data.files import check_new_folder
from skyeye.data.formats import check_source
from skyeye.data.tasks import check_task
from skyeye.errors import SkyEyeError

#: Files of a folder of weights that have to be what their names say.
_BINARY = (".safetensors", ".bin")
_OF_A_MODEL = ("*.safetensors", "*.bin", "tokenizer*", "config.json")


def load_recipe_to_run(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """:func:`skyeye.config.load.load_recipe` for who will train: what its paths name is there, too.

    Raises:
        RecipeError, SkyEyeError: as there.
    """
    return load_recipe(path, overrides, further=[files_are_there])


def files_are_there(recipe: Recipe) -> Iterator[Issue]:
    """Paths of a recipe that cannot be read or written, and names that belong to nothing."""
    yield from _places_to_write(recipe)
    yield from _sources(recipe)
    yield from _tasks(recipe)
    yield from _parts_of_the_model(recipe)
    if recipe.eval.every is not None and recipe.eval.data_root is not None and not Path(recipe.eval.data_root).is_dir():
        message = f"{recipe.eval.data_root} is no folder; check the path, or leave eval.every out"
        yield Issue("eval.data_root", message, ("eval.data_root", "eval.every"))


def other_content(path: Path, text: bool = False) -> str | None:
    """What a file of weights is instead, or that it is cut short, with what to do; None where nothing is odd.

    Args:
        text: it may be one: a configuration, a tokenizer.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        kind = describe_content(file.read(HEAD))
    by_right = ["JSON", "text"] if text else []
    if path.suffix != ".safetensors":
        by_right.append("a ZIP archive")  # torch writes them
    if kind is not None and kind[0] not in by_right:
        return f"is {kind[0]}; {kind[1]}"
    missing = _missing_bytes(path) if path.suffix == ".safetensors" else 0
    return f"is cut short: {missing} bytes are missing; download or copy it again" if missing > 0 else None


def _missing_bytes(path: Path) -> int:
    """How many bytes of a safetensors file are not there, by its own header; 0 where the header cannot be read."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > 100_000_000:
            return 0
        header = file.read(length)
    if len(header) < length:
        return length - len(header)
    try:
        ends = [entry["data_offsets"][1] for name, entry in json.loads(header).items() if name != "__metadata__"]
        return int(8 + length + max(ends, default=0) - size)
    except (ValueError, LookupError, TypeError, AttributeError):
        return 0


def _places_to_write(recipe: Recipe) -> Iterator[Issue]:
    setting = "output_dir" if recipe.run.dir is None else "run.dir"
    places = [(setting, recipe.folder)]
    places += [(f"stages[{i}].feature_cache", stage.feature_cache or "") for i, stage in enumerate(recipe.stages)]
    for path, place in places:
        odd = _unwritable(Path(place)) if place else None
        if odd is not None:
            yield Issue(path, f"{odd}; choose another one", (path,))
    if not recipe.folder:
        yield Issue(setting, "is empty; name a folder", (setting,))


def _unwritable(folder: Path) -> str | None:
    """Why a folder cannot be made or written to."""
    try:
        there = next((part for part in (folder, *folder.parents) if os.path.lexists(part)), Path())
        if not there.is_dir():
            return f"{there} is a file, not a folder" if there.exists() else f"{there} is a link to nothing"
        check_new_folder(folder)
    except OSError as error:
        return f"{folder} cannot be looked at: {error.strerror or error}"
    except SkyEyeError as error:
        return f"{folder} {error.what}"
    return None


def _sources(recipe: Recipe) -> Iterator[Issue]:
    """Of the sources that are read; the others are none of this run's business."""
    used = {entry.source for stage in recipe.stages for entry in stage.mixture} | {recipe.run.samples_source}
    for name, source in recipe.sources.items():
        if name not in used:
            continue
        try:
            check_source(source, name)
        except SkyEyeError as error:
            path = error.where or f"sources.{name}"
            yield Issue(path, f"{error.what} ({error.remedy})" if error.remedy else error.what, (path,))
        if source.images is not None and "://" not in source.images and not Path(source.images).is_dir():
            path = f"sources.{name}.images"
            yield Issue(path, f"{source.images} is no folder; name the one that holds the images", (path,))


def _tasks(recipe: Recipe) -> Iterator[Issue]:
    for i, stage in enumerate(recipe.stages):
        for j, entry in enumerate(stage.mixture):
            path = f"stages[{i}].mixture[{j}].tasks"
            for task in entry.tasks or {}:
                try:
                    check_task(task, path)
                except SkyEyeError as error:
                    yield Issue(path, f"{error.what} ({error.remedy})", (f"{path}.{task}",))


def _parts_of_the_model(recipe: Recipe) -> Iterator[Issue]:
    model = recipe.model
    several = isinstance(model.vision, list)
    for i, tower in enumerate(model.towers):
        yield from _weights(f"model.vision[{i}].weights" if several else "model.vision.weights", tower.weights)
    yield from _weights("model.language.pretrained", model.language.pretrained, hub=True)
    yield from _weights("model.checkpoint", model.checkpoint)
    if model.text is not None:
        yield from _weights("model.text.weights", model.text.weights, hub=True)
    if not model.tokenizer.train_vocab_size:
        yield from _weights("model.tokenizer.path", model.tokenizer.path, hub=True)
        if model.tokenizer.path is None and model.language.pretrained is None:
            message = "a fresh language model has none; give path, or train_vocab_size to learn one from the data"
            settings = ("model.tokenizer.path", "model.tokenizer.train_vocab_size", "model.language.pretrained")
            yield Issue("model.tokenizer", message, settings)


def _weights(setting: str, named: str | None, hub: bool = False) -> Iterator[Issue]:
    """What is wrong with a file of weights or of a tokenizer, or with a folder of both.

    Args:
        hub: it may also be a name on the hub: whether that can be had is known when it is asked for.
    """
    if named is None:
        return
    place, tokenizer = Path(named), setting == "model.tokenizer.path"
    if not place.exists() and hub and _is_hub_name(named):
        return
    odd = [] if place.exists() else [(place, "does not exist; check the path")]
    if place.is_dir():
        if not tokenizer and not (place / "config.json").is_file():
            inside = sorted(path.parent for path in place.glob("checkpoints/*/config.json"))
            remedy = f"name one of its models, e.g. {inside[-1]}" if inside else "name the folder of a model"
            odd.append((place, f"holds no config.json; {remedy}"))
        files = sorted({file for pattern in _OF_A_MODEL for file in place.glob(pattern) if file.is_file()})
    else:
        files = [place] if place.exists() else []
    for file in files:
        try:
            found = other_content(file, text=tokenizer or (place.is_dir() and file.suffix not in _BINARY))
        except OSError as error:
            found = f"cannot be read: {error.strerror or error}"
        if found is not None:
            odd.append((file, found))
    for file, found in odd:
        yield Issue(setting, f"{file} {found}", (setting,))


def _is_hub_name(named: str) -> bool:
    """``organisation/model`` or ``model``, where the first word is no folder here."""
    first, slash, _ = named.partition("/")
    return re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", named) is not None and not (slash and Path(first).is_dir())
