"""A long list of records read by several processes, each a part of it; the table is that of one process."""

from __future__ import annotations

import multiprocessing
import os
from importlib import import_module
from itertools import pairwise
from multiprocessing.connection import Connection

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import READERS, iter_source
from skyeye.data.formats.base.json_lists import is_list, part_of_list
from skyeye.data.formats.base.noted import Notes, add_notes, noting
from skyeye.data.formats.base.problems import Problem
from skyeye.data.table import Building, Table
from skyeye.errors import SkyEyeError

#: Bytes of a list below which starting a process takes as long as it saves.
LEAST = 4 << 20
MOST = 4  # processes: each decodes the list up to the end of its part, and only then is faster
_LATER = 0.83  # a later part is smaller than the one before, because more is decoded for it

Part = tuple[Building, list[Problem], Notes]


def read_in_parts(source: SourceConfig, name: str) -> tuple[Table, list[Problem]] | None:
    """The table of a source whose reader takes parts, and what was skipped.

    Returns:
        None where one process has to read it: it is no list, or a short one, there is one core, or a part alone is not
        sound (the verdict on a source is one on the whole, and so is a remark on a file).
    """
    # macOS does not say, and does not fork safely
    processes = min(MOST, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else 1
    short = not os.path.isfile(source.path) or os.path.getsize(source.path) < LEAST
    if processes == 1 or short or not is_list(source.path) or multiprocessing.current_process().daemon:
        return None
    look_first = getattr(import_module(READERS[source.format]), "before_parts", None)
    if look_first is not None:  # what is known of the whole file, once and not in every process
        look_first(source.path, **source.options)
    bounds = _bounds(processes)
    fork = multiprocessing.get_context("fork")  # a fresh interpreter would import for as long as this saves
    started = []
    for part in bounds[1:]:
        here, there = fork.Pipe(duplex=False)
        started.append((fork.Process(target=_send, args=(there, source, name, part), daemon=True), here))
        started[-1][0].start()
        there.close()
    try:
        parts = [_read(source, name, bounds[0])]
        parts += [pipe.recv() for _, pipe in started]
    except (SkyEyeError, EOFError, OSError):
        return None
    finally:
        for process, _ in started:
            process.kill()
            process.join()
    return _joined(parts)


def _bounds(processes: int) -> list[tuple[float, float]]:
    """From where to where, in fractions of the file, each process reads."""
    sizes = [_LATER**number for number in range(processes)]
    ends = [sum(sizes[: number + 1]) / sum(sizes) for number in range(processes - 1)]
    return list(pairwise([0.0, *ends, 2.0]))  # beyond the end: the last one tells what stands there


def _joined(parts: list[Part]) -> tuple[Table, list[Problem]] | None:
    problems = [problem for _, own, _ in parts for problem in own]
    if any(problem.kind == "unknown field" for problem in problems):  # counted for a whole file
        return None
    whole = parts[0][0]
    for building, _, _ in parts[1:]:
        whole.append(building)
    for _, _, notes in parts:
        add_notes(notes)
    return whole.table(), problems


def _send(pipe: Connection, source: SourceConfig, name: str, part: tuple[float, float]) -> None:
    try:
        pipe.send(_read(source, name, part))
    except BaseException:  # whatever it is, the other process meets it and tells it
        pipe.close()


def _read(source: SourceConfig, name: str, part: tuple[float, float]) -> Part:
    building, problems = Building(), list[Problem]()
    with noting() as notes, part_of_list(*part):
        for item in iter_source(source, name):
            if isinstance(item, Problem):
                problems.append(item)
            else:
                building.add(item)
    return building, problems, notes
