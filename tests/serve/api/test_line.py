"""Requests that wait, prepared by whoever takes them or ahead by a thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from skyeye.serve.api.line import Line


@dataclass(eq=False)
class Asked:
    """Stands for a request, and for its group."""

    number: int


def filled(count: int, most: int, ahead: bool, prepare=None) -> tuple[Line, list[int]]:
    """A line with so many requests, and how many of them were prepared together each time."""
    together: list[int] = []

    def pairs(jobs):
        together.append(len(jobs))
        return [(job, job.number) for job in jobs]

    line = Line(prepare or pairs, most, ahead)
    for number in range(count):
        assert line.put(Asked(number))
    return line, together


@pytest.mark.parametrize("ahead", [False, True])
def test_every_request_is_taken_once_in_its_order_up_to_the_end(ahead):
    line, _ = filled(100, most=7, ahead=ahead)
    line.start()
    taken = [line.take(wait=True)[1] for _ in range(60)]
    line.end()
    while (found := line.take(wait=True)) is not None:
        taken.append(found[1])
    assert taken == list(range(100)) and len(line) == 0
    assert not line.put(Asked(100)) and line.take(wait=True) is None


def test_without_a_thread_requests_are_prepared_together_when_the_first_is_taken():
    line, together = filled(10, most=4, ahead=False)
    assert not together and len(line) == 10
    assert [line.take(wait=False)[1] for _ in range(4)] == [0, 1, 2, 3] and together == [4]


def test_a_thread_prepares_no_more_than_there_is_room_for():
    line, together = filled(10, most=4, ahead=True)
    line.start()
    first = line.take(wait=True)[1]
    with line._changed:
        line._changed.wait_for(lambda: len(line._prepared) == 4, timeout=10)
    assert first == 0 and sum(together) == 5 and len(line) == 9


def test_nothing_is_there_until_it_comes():
    line, _ = filled(0, most=4, ahead=True)
    assert line.take(wait=False) is None
    line.start()
    later = threading.Timer(0.05, lambda: line.put(Asked(7)))
    later.start()
    assert line.take(wait=True)[1] == 7
    threading.Timer(0.05, line.end).start()
    assert line.take(wait=True) is None


@pytest.mark.parametrize("ahead", [False, True])
def test_requests_that_cannot_be_prepared_do_not_hold_up_the_others(ahead):
    line, _ = filled(9, 3, ahead, prepare=lambda jobs: [(job, job.number) for job in jobs if job.number % 3 == 2])
    line.start()
    assert [line.take(wait=True)[1] for _ in range(3)] == [2, 5, 8]
    line.end()
    assert line.take(wait=True) is None
