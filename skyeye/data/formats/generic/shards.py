"""Shard sets as a source: what ``skyeye data pack`` and ``assemble`` write (docs/shards.md)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import Problem, with_arguments_of
from skyeye.data.record import Record
from skyeye.data.shards.groups import ShardGroups
from skyeye.data.shards.index import ShardSet
from skyeye.data.shards.layout import HEADER
from skyeye.errors import SkyEyeError


def open_groups(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    source: str | None = None,
    cache: str | None = None,
) -> ShardGroups:
    """The groups of a shard set, of which only the index is read.

    Args:
        path: folder or URL of the set.
        images: must be left out: the images are in the shards.
        split: train, val or test.
        source: one source of the set, by the name it was packed under; default: all.
        cache: for a URL, the folder that keeps what was fetched.
    """
    if images.root is not None:
        raise SkyEyeError("shards hold their images", where=str(path), remedy="leave out `images:` of this source")
    header = Path(path) / HEADER
    stamp = header.stat().st_mtime_ns if header.is_file() else None
    return ShardGroups(_opened(str(path), cache, stamp), source, split)


@with_arguments_of(open_groups)
def read(*arguments: Any, **options: Any) -> Iterator[Record | Problem]:
    """Records of a shard set, image after image. Training does not read them so: it takes :func:`open_groups`."""
    yield from open_groups(*arguments, **options).records()


@lru_cache(maxsize=2)
def _opened(path: str, cache: str | None, stamp: int | None) -> ShardSet:
    """One set for all of its sources; a recipe names twenty of them, and opening checks the whole index."""
    return ShardSet(path, cache)
