"""Readers of published annotation formats: each turns files on disk into :class:`~skyeye.data.record.Record`.

A reader is a module with ``read(path, images=None, split=None, **options)`` that yields records and, for whatever it
did not take over, :class:`~skyeye.data.formats.common.Problem`. A new format is one file here and one line in
:data:`READERS`; see docs/data_formats.md.
"""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.data.formats.common import Problem, nearest
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

#: ``format:`` of a source -> the module that reads it, imported when it is first used.
READERS: dict[str, str] = {
    "skyeye968k": "skyeye.data.formats.skyeye968k",
    "llava": "skyeye.data.formats.skyeye968k",
    "made_world": "skyeye.data.formats.made_world",
    "karpathy": "skyeye.data.formats.karpathy",
    "class_folders": "skyeye.data.formats.class_folders",
    "rsvqa": "skyeye.data.formats.rsvqa",
    "rsivqa": "skyeye.data.formats.rsivqa",
    "dota": "skyeye.data.formats.dota",
    "yolo": "skyeye.data.formats.yolo",
    "coco": "skyeye.data.formats.coco",
}

_log = logging.getLogger(__name__)


def read_source(source: SourceConfig, name: str) -> list[Record]:
    """All records of one source; what was left out is counted, and the first of each kind logged as a warning.

    Raises:
        SkyEyeError: unknown format or option, unreadable file, no record at all, or more broken records than good ones.
    """
    records, problems = read_with_problems(source, name)
    if problems:
        _log.warning("%s", summary(problems, name))
    return records


def read_with_problems(source: SourceConfig, name: str) -> tuple[list[Record], list[Problem]]:
    """Like :func:`read_source`, with the complete list of what was left out instead of a log line."""
    reader = _reader(source.format, name)
    if not Path(source.path).exists():
        raise SkyEyeError(f"{source.path} does not exist", where=f"sources.{name}.path", remedy="check the path")
    _check_options(reader, source, name)
    records: list[Record] = []
    problems: list[Problem] = []
    for item in reader(source.path, images=source.images, split=source.split, **source.options):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            records.append(item if item.source else replace(item, source=name))
    if not records:
        raise _nothing(reader, source, name, problems)
    broken = [p for p in problems if not p.by_rule and p.kind != "missing image"]
    if len(broken) > len(records):
        raise SkyEyeError(
            f"{len(broken)} records are broken and only {len(records)} are sound; the first: {broken[0]}",
            where=f"sources.{name}",
            remedy="check `format:` of this source or mend the file",
        )
    return records, problems


def summary(problems: Iterable[Problem], name: str, examples: int = 2) -> str:
    """What was left out of a source: the count of each kind with the first few, one line per kind."""
    problems = list(problems)
    lines = [f"{name}: {len(problems)} left out"]
    for kind, count in Counter(p.kind for p in problems).most_common():
        first = [str(p) for p in problems if p.kind == kind][:examples]
        lines.append(f"  {count} x {kind}: {' | '.join(first)}{' ...' if count > examples else ''}")
    return "\n".join(lines)


def _reader(format: str, name: str) -> Callable[..., Iterator[Record | Problem]]:
    if format not in READERS:
        raise SkyEyeError(
            f"unknown format {format!r}", where=f"sources.{name}.format", remedy=nearest(format, list(READERS))
        )
    return import_module(READERS[format]).read


def _check_options(reader: Callable, source: SourceConfig, name: str) -> None:
    parameters = inspect.signature(reader).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    known = [p for p in parameters if p not in ("path", "images", "split")]
    for option in source.options:
        if option not in known:
            remedy = nearest(option, known) if known else f"format {source.format} has no options"
            raise SkyEyeError(f"unknown option {option!r}", where=f"sources.{name}.options", remedy=remedy)


def _nothing(reader: Callable, source: SourceConfig, name: str, problems: list[Problem]) -> SkyEyeError:
    where = f"sources.{name} ({source.path})"
    missing = [p for p in problems if p.kind == "missing image"]
    if missing:
        remedy = f"give `images:` the folder that holds them, now {source.images or 'not set'}"
        return SkyEyeError(
            f"none of {len(missing)} records has its image; the first: {missing[0]}", where=where, remedy=remedy
        )
    if problems:
        return SkyEyeError(
            f"no usable record, {len(problems)} left out; the first: {problems[0]}",
            where=where,
            remedy="check `format:` of this source",
        )
    if source.split is not None:
        items = reader(source.path, images=source.images, **source.options)
        splits = sorted({item.split for item in items if isinstance(item, Record)})
        if splits:
            return SkyEyeError(
                f"no record of split {source.split!r}", where=where, remedy=nearest(source.split, splits)
            )
    return SkyEyeError("holds no record", where=where, remedy="check `path:` of this source")
