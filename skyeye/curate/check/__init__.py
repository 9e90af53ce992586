"""``skyeye data check``: what can be said about data before a model is trained on them.

Records are streamed: of each a few digests are kept, of each image a hash. What a reader leaves out is *reported*; what
is found about records that stay is a *finding*. See docs/data_check.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from skyeye.config.schema import SourceConfig
from skyeye.curate.check.collect import Collection
from skyeye.curate.check.findings import Tally
from skyeye.curate.check.images import look_at_all
from skyeye.curate.check.report import build_report, format_text
from skyeye.curate.target import Target, open_target
from skyeye.data.formats import check_source
from skyeye.data.formats.base.image_folder import ImageLookup
from skyeye.data.formats.base.problems import Problem
from skyeye.data.images.hashing import THRESHOLD
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
        _take(collection, source, name, in_recipe=target.recipe is not None)
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
    about = {"target": str(target.path), "decoded": decode, "threshold": threshold}
    readable = collection.readable_images(shown)
    return build_report(about, target.sources, collection.tallies, beside, readable, seen, vocabulary)


def _take(collection: Collection, source: SourceConfig, name: str, in_recipe: bool) -> None:
    """All that a source yields. In a recipe everything is trained on, whatever split the data set meant it for."""
    tally = collection.tallies[name]
    try:
        for item in _read(source, name):
            if isinstance(item, Problem):
                tally.problem(item)
                continue
            collection.take(item, name, "train" if in_recipe else item.split)
            if in_recipe and item.split != "train":
                what = f"is of split {item.split} and would be trained on; set `split:` of source {name}"
                tally.find("evaluation record in training", item.where, what)
    except SkyEyeError as error:
        tally.report("source cannot be read", str(error.where or source.path), str(error))


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
