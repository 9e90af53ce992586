"""What enters a batch and when, and a rehearsal."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from skyeye.data.record import Turn
from skyeye.generation.sampling import GREEDY
from skyeye.serve.api.jobs import Job, Task
from skyeye.serve.api.limits import Limits
from skyeye.serve.api.worker import Worker


@pytest.fixture
def worker(parts) -> Worker:
    model, processor = parts
    return Worker(model.eval(), processor, Limits(rows=64))


def put(worker: Worker) -> None:
    turns = (Turn("how many ships?", ""),)
    assert worker._put(Job(Task(turns, (), worker.builder.prompt(0, turns), 5, [GREEDY], (), False), lambda _: None))


@pytest.mark.parametrize(("in_work", "others", "tokens"), [(20, 0, 4), (20, 3, 0), (4, 0, 0)])
def test_a_request_waits_a_few_tokens_for_company(worker, in_work, others, tokens):
    groups = worker._groups(SimpleNamespace(in_work=in_work))
    put(worker)
    for _ in range(others):
        put(worker)
    taken = list(itertools.islice(groups, tokens + others + 1))
    assert [group is None for group in taken] == [True] * tokens + [False] * (others + 1)
    assert worker.running == others + 1 and worker.waiting == 0 and next(groups) is None


def test_one_that_comes_while_it_waits_is_company(worker):
    groups = worker._groups(SimpleNamespace(in_work=10))
    put(worker)
    assert next(groups) is None and next(groups) is None
    put(worker)
    assert next(groups) is not None and next(groups) is not None and next(groups) is None
    put(worker)
    assert [next(groups) is None for _ in range(5)] == [True] * 4 + [False], "the next one waits as long"


def test_made_up_requests_are_answered_and_leave_nothing(parts):
    model, processor = parts
    worker = Worker(model.eval(), processor, Limits(rows=4))
    passes, real = [], model.language_model.forward
    model.language_model.forward = lambda *args, **rest: passes.append(1) or real(*args, **rest)
    try:
        worker.rehearse(answers=6, longest=5)
    finally:
        model.language_model.forward = real
    assert len(passes) >= 5 and worker.running == worker.waiting == 0 and not worker.pictures._kept
