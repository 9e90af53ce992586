"""``skyeye data check``: what can be said about data before a model is trained on them.

Records are streamed: of each a few digests are kept, of each image a hash. What a reader leaves out is *reported*; what
is found about records that stay is a *finding*. See docs/data_check.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skyeye.config.schema import Recipe, SourceConfig
from skyeye.curate.check.collect import Collection
from skyeye.curate.check.findings import Tally
from skyeye.curate.check.images import look_at_all
from skyeye.curate.check.report import build_report, format_text
from skyeye.curate.target import Target, open_target
from skyeye.data.formats import check_source
from skyeye.data.formats.base.image_folder import ImageLookup
from skyeye.data.formats.base.problems import Problem
from skyeye.data.images.hashing import THRESHOLD
from skyeye.data.prompts import prompt_style, unplaced_system
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

MOST_BITS = 16  # of 64: pictures that differ in more are not alike

__all__ = ["check", "format_text"]


def check(
    target: Target | str | Path,
    *,
    decode: bool = True,
    workers: int = 2,
    threshold: int = THRESHOLD,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Read everything a target holds, look at every image, and report.

    Args:
        target: a folder, a file or a recipe.
        decode: False reads of the images only how large they are; copies and similar images are then not found.
        workers: threads that decode images. What is found does not depend on it.
        threshold: bits of 64 in which the perceptual hashes of similar images may differ.
        progress: called with (images looked at, images).

    Returns:
        The report as JSON values; docs/data_check.md lists its keys. ``records_in`` = ``records_out`` + the sum of
        ``reported``, for the whole and for every source.

    Raises:
        SkyEyeError: nothing that can be checked lies there.
    """
    if not 0 <= threshold <= MOST_BITS:
        raise SkyEyeError(
            f"threshold {threshold} is not 0..{MOST_BITS}", remedy="unrelated pictures differ in about 32"
        )
    target = target if isinstance(target, Target) else open_target(target)
    collection = Collection(target.sources)
    for name, source in target.sources.items():
        _take(collection, source, name, target.recipe)
    if target.recipe is not None:
        for name, source in target.sources.items():
            _hold_out(collection, source, name)
    loose = target.pictures_besides(collection.images)
    references = collection.images + loose
    seen = list(look_at_all(references, decode, workers, progress))
    shown = seen[: len(collection.images)]
    vocabulary = collection.judge(shown, threshold)
    beside = Tally()
    for name, look in zip(loose, seen[len(shown) :], strict=True):
        if look.error:
            beside.find("unreadable image", name, look.error)
        else:
            beside.find("image without records", name, "no record shows it")
    _understood(target, collection, beside, loose)
    about = {"target": str(target.path), "decoded": decode, "threshold": threshold}
    readable = collection.readable_images(shown)
    return build_report(about, target.sources, collection.tallies, beside, readable, seen, vocabulary)


def _take(collection: Collection, source: SourceConfig, name: str, recipe: Recipe | None) -> None:
    """All that a source yields. In a recipe everything is trained on, whatever split the data set meant it for."""
    tally, in_recipe = collection.tallies[name], recipe is not None
    if recipe is None:
        unplaced = "is written by prompt styles that have a place for it (chat_template), not by minigpt_v2"
    else:
        unplaced = None if prompt_style(recipe.model.prompt).has_system else unplaced_system(recipe.model.prompt.style)
    try:
        for item in _read(source, name):
            if isinstance(item, Problem):
                tally.problem(item)
                continue
            collection.take(item, name, "train" if in_recipe else item.split)
            if unplaced and item.turns and item.turns[0].system is not None:
                tally.find("system turn", item.where, f"what the system says {unplaced}")
            if in_recipe and item.split != "train":
                what = f"is of split {item.split} and would be trained on; set `split:` of source {name}"
                tally.find("evaluation record in training", item.where, what)
    except SkyEyeError as error:
        what = f"{error.what} ({error.remedy})" if error.remedy else error.what
        tally.report("source cannot be read", error.where or source.path, what)


def _understood(target: Target, collection: Collection, beside: Tally, loose: Sequence[str]) -> None:
    """Files that fit no format; and whether anything was understood at all."""
    for file in target.unknown:
        beside.find("annotation file not recognised", str(file), "fits no known format; name one by --format")
    if any(tally.records_out for tally in collection.tallies.values()):
        return
    known = f"{len(target.sources)} data sets without a usable record" if target.sources else "no annotations"
    what = (
        f"nothing to learn from: {known}, {len(target.unknown)} files of no known format, {len(loose)} other pictures"
    )
    beside.find("no record", str(target.path), f"{what}; docs/own_data.md says how own data are written")


def _hold_out(collection: Collection, source: SourceConfig, name: str) -> None:
    """The splits of a recipe's source that the recipe leaves for evaluation."""
    if source.split is None:
        return
    try:
        for item in _read(replace(source, split=None), name):
            if isinstance(item, Record) and item.split not in ("train", source.split):
                collection.hold_out(item, name)
    except SkyEyeError as error:
        collection.tallies[name].find("evaluation cannot be read", str(error.where or source.path), str(error))


def _read(source: SourceConfig, name: str) -> Iterator[Record | Problem]:
    """As :func:`~skyeye.data.formats.iter_source`, without its verdict on sources of which too little can be used."""
    reader = check_source(source, name)
    for item in reader(source.path, images=ImageLookup(source.images), split=source.split, **source.options):
        yield replace(item, source=name) if isinstance(item, Record) and not item.source else item
