"""Readers of published annotation formats: each turns files on disk into :class:`~skyeye.data.record.Record`.

A reader is a module with ``read(path, images, split=None, **options)`` that yields records and, for whatever it did not
take over, :class:`~skyeye.data.formats.base.problems.Problem`; ``images`` is an
:class:`~skyeye.data.formats.base.image_folder.ImageLookup`. A new format is one file here and one line in
:data:`READERS`; see docs/data_formats.md.
"""

from __future__ import annotations

import inspect
import logging
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from skyeye.config.schema import SourceConfig
from skyeye.data.formats.base.image_folder import ImageLookup
from skyeye.data.formats.base.leftovers import record_leftovers
from skyeye.data.formats.base.options import describe, fits
from skyeye.data.formats.base.problems import Problem, suggest
from skyeye.data.images.reference import add_details
from skyeye.data.images.stretch import IMAGE_OPTIONS, image_details
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

#: ``format:`` of a source -> the module that reads it, imported when it is first used.
READERS: dict[str, str] = {
    "skyeye968k": "skyeye.data.formats.instructions.skyeye968k",
    "llava": "skyeye.data.formats.instructions.dialects",
    "uavit": "skyeye.data.formats.instructions.uavit",
    "llama_factory": "skyeye.data.formats.instructions.llama_factory",
    "synthetic": "skyeye.data.formats.generic.synthetic",
    "karpathy": "skyeye.data.formats.captions.karpathy",
    "class_folders": "skyeye.data.formats.scenes.class_folders",
    "scene_presence": "skyeye.data.formats.scenes.scene_presence",
    "rsvqa": "skyeye.data.formats.vqa.rsvqa",
    "rsivqa": "skyeye.data.formats.vqa.rsivqa",
    "dota": "skyeye.data.formats.detection.dota",
    "yolo": "skyeye.data.formats.detection.yolo",
    "coco": "skyeye.data.formats.detection.coco",
    "rsitmd": "skyeye.data.formats.captions.rsitmd",
    "nwpu_captions": "skyeye.data.formats.captions.nwpu_captions",
    "capera": "skyeye.data.formats.captions.capera",
    "rsvg": "skyeye.data.formats.grounding.rsvg",
    "dior_rsvg": "skyeye.data.formats.grounding.dior_rsvg",
    "geo_labels": "skyeye.data.formats.detection.geo_labels",
    "voc": "skyeye.data.formats.detection.voc",
    "fair1m": "skyeye.data.formats.detection.voc",
    "nwpu_vhr10": "skyeye.data.formats.detection.nwpu_vhr10",
    "jsonl": "skyeye.data.formats.generic.jsonl",
    "webdataset_pairs": "skyeye.data.formats.generic.webdataset_pairs",
    "xlrs_bench": "skyeye.data.formats.evaluation.xlrs_bench",
    "geobench_vlm": "skyeye.data.formats.evaluation.geobench_vlm",
    "lhrs_bench": "skyeye.data.formats.evaluation.lhrs_bench",
    "vrsbench": "skyeye.data.formats.evaluation.vrsbench",
    "vhm_eval": "skyeye.data.formats.evaluation.vhm_eval",
    "rsieval": "skyeye.data.formats.evaluation.rsieval",
    "levir_cc": "skyeye.data.formats.evaluation.levir_cc",
    "cdvqa": "skyeye.data.formats.evaluation.cdvqa",
    "class_questions": "skyeye.data.formats.evaluation.class_questions",
    "shards": "skyeye.data.formats.generic.shards",
}

_log = logging.getLogger(__name__)


def read_source(source: SourceConfig, name: str) -> list[Record]:
    """All records of one source; what was skipped is counted, and the first of each kind logged as a warning.

    Raises:
        SkyEyeError: unknown format or option, unreadable file, no record at all, or more broken records than good ones.
    """
    records, problems = read_with_problems(source, name)
    if problems:
        _log.warning("%s", summary(problems, name))
    return records


def read_with_problems(
    source: SourceConfig, name: str, *, keep_absent: bool = False
) -> tuple[list[Record], list[Problem]]:
    """Like :func:`read_source`, with the complete list of what was skipped instead of a log line.

    Args:
        keep_absent: see :class:`~skyeye.data.formats.base.image_folder.ImageLookup`.
    """
    records: list[Record] = []
    problems: list[Problem] = []
    for item in iter_source(source, name, keep_absent=keep_absent):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            records.append(item)
    return records, problems


def iter_source(source: SourceConfig, name: str, *, keep_absent: bool = False) -> Iterator[Record | Problem]:
    """The records of one source and what was skipped, one at a time: no list of them is kept.

    Args:
        keep_absent: see :class:`~skyeye.data.formats.base.image_folder.ImageLookup`.

    Raises:
        SkyEyeError: as :func:`read_source`; that too few records are sound is known at the end.
    """
    reader = check_source(source, name)
    records = skipped = broken = missing = 0
    first: dict[str, Problem] = {}
    images = ImageLookup(source.images, keep_absent)
    for item in reader(source.path, images=images, split=source.split, **source.options):
        if isinstance(item, Record) and (what := _broken_text(item)):
            item = Problem("broken character", f"{item.where}, {item.id}", what)
        if isinstance(item, Problem):
            first.setdefault("any", item)
            skipped += item.count
            if item.kind == "missing image":
                first.setdefault("missing", item)
                missing += item.count
            elif not item.by_rule:
                first.setdefault("broken", item)
                broken += item.count
            yield item
        else:
            records += 1
            for kind, left in record_leftovers(item):
                yield Problem(kind, f"{item.where}, {item.id}", left, by_rule=True, count=0)
            yield item if item.source else item.of(name)
    if not records:
        raise _nothing(reader, source, name, first, missing, skipped)
    if broken > records:
        raise SkyEyeError(
            f"{broken} records are broken and only {records} are sound; the first: {first['broken']}",
            where=f"sources.{name}",
            remedy="check `format:` of this source or mend the file",
        )


def _broken_text(record: Record) -> str | None:
    """What is wrong with the signs of a record's texts; None: nothing."""
    odd = [turn for turn in record.turns if turn.mentions or not (turn.question.isascii() and turn.answer.isascii())]
    if not odd:
        return None
    try:
        "".join(turn.question + turn.answer for turn in odd).encode()
    except UnicodeEncodeError:
        return "the text holds half of a character (a lone surrogate), which no tokenizer takes"
    if not all(turn.is_whole() for turn in odd):
        return "the text holds U+FFFC, which stands for a box in this program"
    return None


def check_source(source: SourceConfig, name: str) -> Callable[..., Iterator[Record | Problem]]:
    """The reader of a source, once its path and options are known to fit it.

    Raises:
        SkyEyeError: unknown format or option, or nothing at its path.
    """
    reader = _reader(source.format, name)
    if "://" not in source.path and not Path(source.path).exists():
        made = source.format == "synthetic"
        synth = f"draw synthetic scenes there: skyeye data synth {shlex.quote(source.path)} --images 2000"
        remedy = synth if made else "check the path"
        raise SkyEyeError(f"{source.path} does not exist", where=f"sources.{name}.path", remedy=remedy)
    _check_options(source, name)
    if not source.options.keys() & set(IMAGE_OPTIONS):
        return reader
    details = image_details({key: source.options.get(key) for key in IMAGE_OPTIONS}, f"sources.{name}.options")
    if set(IMAGE_OPTIONS) <= inspect.signature(reader).parameters.keys():  # it names parts of pictures itself
        return partial(_read_with_options, reader, details)
    return partial(_read_with_details, reader, details)


def summary(problems: Iterable[Problem], name: str, examples: int = 2) -> str:
    """What was skipped of a source and what was remarked: the count of each kind with the first few, a line a kind."""
    problems = list(problems)
    skipped = [problem for problem in problems if problem.count]
    remarks = [problem for problem in problems if not problem.count]
    lines = [f"{name}: {len(skipped)} skipped"] if skipped or not remarks else []
    for told, opening in ((skipped, ""), (remarks, "kept, but ")):
        for kind, count in Counter(p.kind for p in told).most_common():
            first = [str(p) for p in told if p.kind == kind][:examples]
            lines.append(f"  {opening}{count} x {kind}: {' | '.join(first)}{' ...' if count > examples else ''}")
    return "\n".join(lines if skipped or not remarks else [f"{name}: all records taken", *lines])


def _reader(format: str, name: str) -> Callable[..., Iterator[Record | Problem]]:
    if format not in READERS:
        raise SkyEyeError(
            f"unknown format {format!r}", where=f"sources.{name}.format", remedy=suggest(format, list(READERS))
        )
    return import_module(READERS[format]).read


def _read_with_details(
    reader: Callable[..., Iterator[Record | Problem]], details: dict[str, str], path: str, **arguments: Any
) -> Iterator[Record | Problem]:
    """What a reader yields, with the choice of bands and stretch in the references that do not hold their own."""
    for key in IMAGE_OPTIONS:
        arguments.pop(key, None)
    for item in reader(path, **arguments):
        if isinstance(item, Record):
            item = replace(item, images=tuple(add_details(image, **details) for image in item.images))
        yield item


def _read_with_options(
    reader: Callable[..., Iterator[Record | Problem]], details: dict[str, str], path: str, **arguments: Any
) -> Iterator[Record | Problem]:
    """What a reader yields that takes the choice of bands and stretch, as text."""
    return reader(path, **{**arguments, **dict.fromkeys(IMAGE_OPTIONS), **details})


def options_of(format: str) -> dict[str, Any]:
    """The options that the reader of a known format takes, those of pictures among them, each with its type."""
    parameters = inspect.signature(import_module(READERS[format]).read, eval_str=True).parameters
    own = {name: each.annotation for name, each in parameters.items() if name not in ("path", "images", "split")}
    return own | dict.fromkeys(IMAGE_OPTIONS, Any)  # theirs are read by image_details


def _check_options(source: SourceConfig, name: str) -> None:
    known, where = options_of(source.format), f"sources.{name}.options"
    for option, value in source.options.items():
        if option not in known:
            raise SkyEyeError(f"unknown option {option!r}", where=where, remedy=suggest(str(option), list(known)))
        if not fits(value, known[option]):
            what = f"expected {describe(known[option])}, got {str(value)[:60]!r}"
            raise SkyEyeError(what, where=f"{where}.{option}", remedy="docs/data_formats.md lists the options")


def _nothing(
    reader: Callable[..., Any], source: SourceConfig, name: str, first: dict[str, Problem], missing: int, skipped: int
) -> SkyEyeError:
    where = f"sources.{name} ({source.path})"
    if "missing" in first:
        remedy = f"give `images:` the folder that holds them, now {source.images or 'not set'}"
        return SkyEyeError(
            f"none of {missing} records has its image; the first: {first['missing']}", where=where, remedy=remedy
        )
    if first:
        return SkyEyeError(
            f"no usable record, {skipped} skipped; the first: {first['any']}",
            where=where,
            remedy="check `format:` of this source",
        )
    if source.split is not None:
        items = reader(source.path, images=ImageLookup(source.images), **source.options)
        splits = sorted({item.split for item in items if isinstance(item, Record)})
        if splits:
            return SkyEyeError(
                f"no record of split {source.split!r}", where=where, remedy=suggest(source.split, splits)
            )
    return SkyEyeError("holds no record", where=where, remedy="check `path:` of this source")
