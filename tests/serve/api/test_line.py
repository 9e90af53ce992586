"""Requests that wait, and are prepared when they are taken."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from skyeye.serve.api.line import Line


@dataclass(eq=False)
class Asked:
    """Stands for a request, and for its group."""

    number: int


def filled(count: int, most: int, prepare=None) -> tuple[Line, list[int]]:
    """A line with so many requests, and how many of them were prepared together each time."""
    together: list[int] = []

    def pairs(jobs):
        together.append(len(jobs))
        return [(job, job.number) for job in jobs]

    line = Line(prepare or pairs, most)
    for number in range(count):
        assert line.put(Asked(number))
    return line, together


def test_every_request_is_taken_once_in_its_order_up_to_the_end():
    line, together = filled(100, most=7)
    assert len(line) == 100 and not together
    taken = [line.take(wait=True)[1] for _ in range(60)]
    assert together == [7] * 9 and len(line) == 40, "prepared together, when the first is taken"
    line.end()
    while (found := line.take(wait=True)) is not None:
        taken.append(found[1])
    assert taken == list(range(100)) and len(line) == 0
    assert not line.put(Asked(100)) and line.take(wait=True) is None


def test_nothing_is_there_until_it_comes():
    line, _ = filled(0, most=4)
    assert line.take(wait=False) is None
    threading.Timer(0.05, lambda: line.put(Asked(7))).start()
    assert line.take(wait=True)[1] == 7
    threading.Timer(0.05, line.end).start()
    assert line.take(wait=True) is None


def test_as_many_as_are_wanted_are_prepared_together():
    line, together = filled(2, most=9)
    assert line.take(wait=False, least=3) is None and len(line) == 2 and not together
    line.put(Asked(2))
    assert [line.take(wait=False, least=3)[1] for _ in range(3)] == [0, 1, 2] and together == [3]
    line.put(Asked(3))
    assert line.take(wait=True, least=3)[1] == 3, "whoever has nothing to do takes what there is"


def test_requests_that_cannot_be_prepared_do_not_hold_up_the_others():
    line, _ = filled(9, 3, prepare=lambda jobs: [(job, job.number) for job in jobs if job.number % 3 == 2])
    assert [line.take(wait=True)[1] for _ in range(3)] == [2, 5, 8]
    line.end()
    assert line.take(wait=True) is None
