"""Benchmarks by name, by the names that papers use, by pattern, and in lists (suites)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from skyeye.data.formats import iter_source
from skyeye.data.formats.base.problems import suggest
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import (
    captions,
    changes,
    choices,
    grounding,
    objects,
    retrieval,
    rsieval,
    scenes,
    synthetic,
    uavbench,
    vehicles,
    vhm,
    vqa,
    vrsbench,
    zero_shot,
)
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace

#: What the field reports on since 2024.
_FIELD = (vrsbench, choices, vhm, rsieval, objects, changes, uavbench)

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for family in (synthetic, captions, vqa, grounding, scenes, vehicles, retrieval, zero_shot, *_FIELD)
    for benchmark in family.BENCHMARKS
}

SUITES: dict[str, tuple[str, ...]] = {
    # the tables of the paper, in its order
    "paper": (
        *("ucm.caption", "sydney.caption", "rsicd.caption", "capera.caption"),
        *("rsvg.val", "rsvg.test", "dior_rsvg.test"),
        *("rsvqa_lr", "rsvqa_hr.test1", "rsvqa_hr.test2"),
    ),
    **{
        suite: tuple(benchmark.name for module in modules for benchmark in module.BENCHMARKS)
        for suite, modules in {
            "synth": (synthetic,),
            "captions": (captions,),
            "vqa": (vqa,),
            "grounding": (grounding, vehicles),
            "scenes": (scenes,),
            "vrsbench": (vrsbench,),
            "choices": (choices,),
            "vhm_eval": (vhm,),
            "rsieval": (rsieval,),
            "objects": (objects,),
            "changes": (changes,),
            "uavbench": (uavbench,),
            "retrieval": (retrieval,),
            "zero_shot": (zero_shot,),
        }.items()
    },
    "all": tuple(BENCHMARKS),
}


def select(names: Sequence[str]) -> list[Benchmark]:
    """Benchmarks by name, each once, in the order they are named.

    A name is that of a benchmark, another one of it (:attr:`Benchmark.also`), or a suite; capitals, spaces and signs do
    not matter. ``synth.*`` and other shell patterns take all benchmarks whose names fit.

    Raises:
        SkyEyeError: a name that is not known, with the nearest one; a name of several benchmarks, with these.
    """
    chosen: dict[str, Benchmark] = {}
    for name in names:
        chosen |= {member: BENCHMARKS[member] for member in _members(name)}
    if not chosen:
        raise SkyEyeError("no benchmark is named", where="benchmarks", remedy=f"known: {', '.join(BENCHMARKS)}")
    return list(chosen.values())


def chosen_benchmarks(
    names: Sequence[str], suite: str | None, data_root: Path
) -> tuple[list[Benchmark], dict[str, str]]:
    """What is to be evaluated: the named benchmarks, and those of the suite whose data are there.

    A benchmark that was named is in the list though its data may be missing: that is an error, said when it is loaded.

    Returns:
        The benchmarks; name -> why it cannot be asked, for those of the suite that are skipped.

    Raises:
        SkyEyeError: as :func:`select`; an unknown suite, or none of it is there.
    """
    chosen = {benchmark.name: benchmark for benchmark in select(names)} if names or suite is None else {}
    skipped: dict[str, str] = {}
    for name in () if suite is None else suite_members(suite):
        if name in chosen:
            continue
        if (error := available(BENCHMARKS[name], data_root)) is None:
            chosen[name] = BENCHMARKS[name]
        else:
            skipped[name] = error.what  # the remedy is for a recipe's source
    if not chosen:
        first = next(iter(skipped.values()))
        raise SkyEyeError(
            f"no benchmark of suite {suite} has its data here; the first: {first}",
            where=str(data_root),
            remedy="check the data root (--data-root); `skyeye eval list NAME` says what is looked for",
        )
    return list(chosen.values()), skipped


def suite_members(suite: str) -> tuple[str, ...]:
    """Names of the benchmarks of a suite.

    Raises:
        SkyEyeError: unknown suite, with the nearest one.
    """
    for known, members in SUITES.items():
        if _plain(known) == _plain(suite):
            return members
    raise SkyEyeError(f"unknown suite {suite!r}", where="suite", remedy=suggest(suite, list(SUITES)))


def available(benchmark: Benchmark, data_root: Path) -> SkyEyeError | None:
    """Why a benchmark cannot be asked from what lies below the data root, or None.

    One record with its image is enough here; :meth:`Benchmark.load` looks at all of them.
    """
    try:
        for item in iter_source(benchmark.source(data_root), benchmark.name):
            if isinstance(item, Record):
                return None
    except SkyEyeError as error:
        return error
    return None  # cannot be: a source without a record is an error


def describe(benchmark: Benchmark) -> dict[str, Any]:
    """What a person wants to know of a benchmark before asking it; values that JSON knows."""
    source = benchmark.source
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "family": benchmark.family,
        "main_metric": benchmark.main_metric,
        "also": [other for other in benchmark.also if len(_called(other)) == 1],
        "suites": [suite for suite, members in SUITES.items() if benchmark.name in members],
        "prompt": benchmark.prompt,
        "max_new_tokens": benchmark.max_new_tokens,
        "output": benchmark.output,
        "shuffled_phrases": benchmark.chosen is not None,
        "published": None if benchmark.published is None else asdict(benchmark.published),
        "looked_for": list(source.looked_for) if isinstance(source, DataPlace) else [],
        "ids": source.ids if isinstance(source, DataPlace) else "",
        "needs_images": benchmark.needs_images,
        "metric": benchmark.metric_words,
    }


def _members(name: str) -> list[str]:
    if name in BENCHMARKS:
        return [name]
    if "*" in name or "?" in name:
        found = [known for known in BENCHMARKS if fnmatchcase(known, name.lower())]
    else:
        found = _called(name)
        if len(found) > 1:
            raise SkyEyeError(
                f"{name!r} names {len(found)} benchmarks", where="benchmarks", remedy=f"say which: {', '.join(found)}"
            )
        if not found:
            found = next((list(members) for suite, members in SUITES.items() if _plain(suite) == _plain(name)), [])
    if not found:
        known = [*BENCHMARKS, *SUITES, *(other for b in BENCHMARKS.values() for other in b.also)]
        raise SkyEyeError(f"unknown benchmark {name!r}", where="benchmarks", remedy=_nearest(name, known))
    return found


def _called(name: str) -> list[str]:
    return [own for own, b in BENCHMARKS.items() if _plain(name) in map(_plain, (own, *b.also))]


def _nearest(name: str, known: Sequence[str]) -> str:
    words = suggest(name, [word.lower() for word in known])
    return words if words.startswith("did you mean") else f"known: {', '.join([*BENCHMARKS, *SUITES])}"


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
