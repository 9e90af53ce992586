"""The pictures of a source with the objects annotated in them, whatever its format, one picture at a time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import READERS, check_source, iter_source
from skyeye.data.formats.base.image_folder import ImageLookup
from skyeye.data.formats.base.problems import Problem
from skyeye.data.formats.detection.base import Annotated, Labelled
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.images.reference import add_details, parse_reference
from skyeye.data.images.stretch import IMAGE_OPTIONS, image_details
from skyeye.data.record import Record, Region


def iter_annotated(source: SourceConfig, name: str) -> Iterator[Annotated | Problem]:
    """Pictures with their objects, and what the reader reports.

    Args:
        name: of the source, for messages.

    Raises:
        SkyEyeError: the source cannot be read.
    """
    check_source(source, name)
    annotated = getattr(import_module(READERS[source.format]), "annotated", None)
    if annotated is None:
        yield from _from_regions(source, name)
        return
    known = inspect.signature(annotated).parameters  # the others are about questions
    options = {key: value for key, value in source.options.items() if key in known}
    details = image_details({key: source.options.get(key) for key in IMAGE_OPTIONS}, "options")
    for item in annotated(source.path, images=ImageLookup(source.images), split=source.split, **options):
        yield replace(item, image=add_details(item.image, **details)) if isinstance(item, Annotated) else item


def _from_regions(source: SourceConfig, name: str) -> Iterator[Annotated | Problem]:
    """For formats that tell their objects only with their records; what got no record is not known here."""
    regions: dict[str, dict[Region, None]] = {}
    of: dict[str, Record] = {}
    for item in iter_source(source, name):
        if isinstance(item, Problem):
            yield item
        elif len(item.images) == 1:
            regions.setdefault(item.images[0], {}).update(dict.fromkeys(item.regions))
            of.setdefault(item.images[0], item)
    for image, known in regions.items():
        where = of[image].where
        objects = tuple(
            Labelled(one.phrase, Box(*one.box), where, False, one.polygon and OrientedBox(*one.polygon))
            for one in known
        )
        yield Annotated(image, objects, Path(parse_reference(image)[0]).stem, of[image].split, where)
