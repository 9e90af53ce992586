"""What is asked: limits that keep order and scenes."""

from __future__ import annotations

from skyeye.data.record import Record, Turn
from skyeye.eval.benchmarks.conditions import limited


def _records(images: list[int]) -> list[Record]:
    turn = (Turn("[vqa] q", "a"),)
    return [Record(str(i), "s", "vqa", "test", (f"{x}.png",), turn) for i, x in enumerate(images)]


def test_limit_keeps_order_and_draws_whole_scenes():
    records = _records([0, 1, 2, 3] * 5)
    assert limited(records, None, 0, False) == limited(records, 99, 0, True) == records
    some = limited(records, 8, 0, by_scene=False)
    assert len(some) == 8 and [int(r.id) for r in some] == sorted(int(r.id) for r in some)
    assert some != records[:8]  # drawn, not the first ones
    whole = limited(records, 10, 0, by_scene=True)
    assert len(whole) == 10 and len({r.images for r in whole}) == 2
    assert [int(r.id) for r in whole] == sorted(int(r.id) for r in whole)
    assert limited(records, 8, 0, False) == some != limited(records, 8, 1, False)
