"""What a user points at (a folder, a file, a recipe) becomes the sources that lie there, and these their records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from skyeye.config.load import load_recipe
from skyeye.config.schema import Recipe, SourceConfig
from skyeye.data.formats import READERS, iter_source, options_of
from skyeye.data.formats.base.image_folder import list_images
from skyeye.data.formats.base.problems import Problem, read_text, suggest
from skyeye.data.images.reference import parse_reference
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError


@dataclass(frozen=True)
class Target:
    """What was pointed at.

    Attributes:
        path: as given.
        sources: name -> source, in order; empty for a folder of pictures without annotations. Of a recipe, those
            that a stage draws from: it may inherit others from the recipe it extends.
        recipe: the recipe, when it is one.
        unknown: files that look like annotations and fit no known format.
    """

    path: Path
    sources: dict[str, SourceConfig]
    recipe: Recipe | None = None
    unknown: tuple[Path, ...] = ()

    def pictures_besides(self, known: Iterable[str]) -> list[str]:
        """Image files below the target, when it is a folder, that are not among the references ``known``."""
        if not self.path.is_dir():
            return []
        used = {os.path.abspath(parse_reference(reference)[0]) for reference in known}
        files = [str(self.path / name) for name in list_images(self.path)]
        return [file for file in files if os.path.abspath(file) not in used]


def open_target(
    path: str | Path,
    *,
    format: str | None = None,
    images: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Target:
    """Recognise what lies at a path.

    Args:
        path: a recipe (YAML with ``sources:``), else a file or folder of annotations, or a folder of pictures.
        format: the format, instead of recognising it.
        images: folder of the images, instead of the one that was recognised.
        options: of the readers; each goes to the sources whose reader knows it.

    Raises:
        SkyEyeError: nothing there, nothing that is known, a mistake in the recipe, options beside a recipe, or an
            option that no reader knows.
    """
    path = Path(path)
    if not path.exists():
        raise SkyEyeError("no such file or folder", where=str(path), remedy="check the path")
    if _is_recipe(path):
        if format is not None or images is not None or options:
            remedy = "leave out --format, --images and --option"
            raise SkyEyeError("a recipe says format, images and options itself", where=str(path), remedy=remedy)
        recipe = load_recipe(path)
        used = {entry.source for stage in recipe.stages for entry in stage.mixture}
        return Target(path, {name: source for name, source in recipe.sources.items() if name in used}, recipe)
    if format is not None:
        if format not in READERS:
            raise SkyEyeError(f"unknown format {format!r}", where="--format", remedy=suggest(format, list(READERS)))
        found, unknown = [(path.stem, SourceConfig(format, str(path)))], []
    else:
        from skyeye.curate.detect.folder import detect_formats  # it imports every reader

        detected = detect_formats(path)
        found, unknown = detected.sources, detected.unknown
    if not found and path.is_file():
        raise SkyEyeError("is one picture, not a data set", where=str(path), remedy="give the folder of the data set")
    if images is not None:
        found = [(name, replace(source, images=str(images))) for name, source in found]
    return Target(path, _with_options(dict(found), options or {}), unknown=tuple(unknown))


def _with_options(sources: dict[str, SourceConfig], options: Mapping[str, Any]) -> dict[str, SourceConfig]:
    known = {name: set(options_of(source.format)) for name, source in sources.items()}
    for option in options:
        if not any(option in names for names in known.values()):
            every = sorted(set().union(*known.values()))
            remedy = suggest(option, every) if sources else "no annotations lie here"
            raise SkyEyeError(f"unknown option {option!r}", where="--option", remedy=remedy)
    return {
        name: replace(source, options={**source.options, **{k: v for k, v in options.items() if k in known[name]}})
        for name, source in sources.items()
    }


def records_of(target: Target) -> Iterator[Record]:
    """The records of all sources of a target, one after the other; what the readers report is left to ``check``.

    Raises:
        SkyEyeError: a source cannot be read, or the target holds no record.
    """
    count = 0
    for name, source in target.sources.items():
        for item in iter_source(source, name):
            if not isinstance(item, Problem):
                count += 1
                yield item
    if not count:
        raise SkyEyeError("holds no usable record", where=str(target.path), remedy="skyeye data check says why")


def _is_recipe(path: Path) -> bool:
    """A YAML file with settings of a recipe; data sets bring YAML files of their own, with class names."""
    if path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        return False
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError:
        return True  # load_recipe says what is wrong with it, and where
    return isinstance(content, dict) and bool({"sources", "extends", "stages", "model"} & set(content))
