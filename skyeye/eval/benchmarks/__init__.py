"""The benchmarks by name. Each family has one small file; a new benchmark is one entry in its list."""

from __future__ import annotations

from collections.abc import Sequence

from skyeye.data.formats.common import nearest
from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import aid, rsicd, rsvqa, vehicles, world
from skyeye.eval.benchmarks.base import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for family in (world, rsicd, aid, rsvqa, vehicles) for benchmark in family.BENCHMARKS
}


def select(names: Sequence[str]) -> list[Benchmark]:
    """Benchmarks by name; ``world.*`` and the like take a whole family.

    Raises:
        SkyEyeError: a name that is not known, with the nearest one.
    """
    chosen: dict[str, Benchmark] = {}
    for name in names:
        members = [x for x in BENCHMARKS if x.startswith(name[:-1])] if name.endswith("*") else [name]
        if not members or members[0] not in BENCHMARKS:
            raise SkyEyeError(f"unknown benchmark {name!r}", where="benchmarks", remedy=nearest(name, list(BENCHMARKS)))
        chosen |= {member: BENCHMARKS[member] for member in members}
    if not chosen:
        raise SkyEyeError("no benchmark is named", where="benchmarks", remedy=f"known: {', '.join(BENCHMARKS)}")
    return list(chosen.values())
