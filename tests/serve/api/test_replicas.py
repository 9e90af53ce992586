"""Who of several processes is asked, and what happens when one is lost."""

from __future__ import annotations

import queue
from collections import Counter
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.jobs import Job, Task
from skyeye.serve.api.limits import Limits
from skyeye.serve.api.model_process import ModelProcess
from skyeye.serve.api.model_start import StartedModel
from skyeye.serve.api.replicas import Replicas
from skyeye.serve.model import Model
from tests.serve.api.conftest import noise
from tests.serve.api.test_load import until
from tests.serve.api.test_model_process import CPU, asked, checkpoint, told_text  # noqa: F401

LIMITS = Limits(rows=4, queue=6)


class Stub:
    """Stands for a process: jobs that it was given wait for ever."""

    def __init__(self):
        self.limits, self.reads, self.seconds_per_job, self.running, self.jobs = LIMITS, 120, 4.0, 0, []

    @property
    def waiting(self) -> int:
        return len(self.jobs)

    def _put(self, job) -> bool:
        self.jobs.append(job)
        return True


def about(digest: int | None) -> Job:
    pictures = () if digest is None else (SimpleNamespace(digest=digest),)
    return Job(Task((), pictures, (), 5, (), (), False), lambda _: None)


def test_whoever_has_fewest_is_asked_and_the_queue_is_of_all():
    stubs = [Stub(), Stub(), Stub()]
    replicas = Replicas(stubs)
    for _ in range(6):
        replicas.submit(about(None))
    assert [len(stub.jobs) for stub in stubs] == [2, 2, 2] and replicas.waiting == 6
    with pytest.raises(ApiError, match="6 requests wait already; try again in 2 s"):  # 6 / 4 rows * 4 s / 3 processes
        replicas.submit(about(None))


def test_who_has_encoded_a_picture_is_asked_again_unless_busier_by_more_than_two():
    stubs = [Stub(), Stub()]
    replicas = Replicas(stubs)
    for _ in range(4):
        replicas.submit(about(7))
    assert [len(stub.jobs) for stub in stubs] == [3, 1], "the fourth went to the other, and is known there now"
    replicas.submit(about(7))
    assert [len(stub.jobs) for stub in stubs] == [3, 2]


def test_two_processes_answer_as_one_model_and_are_lost_together(checkpoint, parts):  # noqa: F811
    with ExitStack() as stack:
        started = [stack.enter_context(StartedModel(checkpoint, CPU, Limits(rows=2), (n, 2))) for n in range(2)]
        replicas = Replicas(processes := [ModelProcess(each) for each in started])
        replicas.processor, lost = processes[0].processor, queue.SimpleQueue()
        replicas.when_lost = lambda: lost.put(True)
        replicas.start()
        given = Counter()
        for number, process in enumerate(processes):
            put = process._put
            process._put = lambda job, number=number, put=put: given.update([number]) or put(job)
        jobs = [asked(replicas, seed, 9) for seed in range(8)]
        for job, _ in jobs:
            replicas.submit(job)
        model = Model(*parts)
        for seed, (_, told) in enumerate(jobs):
            assert told_text(told) == model.ask(noise(seed), "how many ships?", max_new_tokens=9).text
        assert set(given) == {0, 1} and replicas.alive
        gone, _ = asked(replicas, 1, 60, streams=True)
        replicas.submit(gone)
        replicas.give_up(gone)
        until(lambda: replicas.running == replicas.waiting == 0)
        processes[1]._process.kill()
        assert lost.get(timeout=30) and not replicas.alive and "-9" in str(replicas.lost)
        with pytest.raises(ApiError, match="is ending"):
            replicas.submit(asked(replicas, 0, 3)[0])
