"""Where the model of a replica computes, and what its process is told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from skyeye.errors import SkyEyeError
from skyeye.generation.opening import Opening
from skyeye.serve.api.jobs import Task
from skyeye.serve.api.model_side import _placed, _Tasks


@pytest.fixture
def six_threads(torch_threads):
    torch_threads(6)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_replicas_share_the_threads(six_threads):
    assert _placed(Opening(device="cpu"), 0, 1).device == "cpu" and torch.get_num_threads() == 6
    assert _placed(Opening(device="cpu"), 1, 4).device == "cpu" and torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("asked", "number", "of", "device"),
    [
        (None, 1, 2, "cuda:1"),
        ("cuda", 0, 2, "cuda:0"),
        ("cuda:0", 2, 3, "cuda:0"),
        ("cpu", 1, 2, "cpu"),
        (None, 0, 1, None),
    ],
)
def test_each_takes_a_gpu_of_its_own(six_threads, two_gpus, asked, number, of, device):
    assert _placed(Opening(device=asked), number, of).device == device


def test_more_replicas_than_gpus_are_refused(six_threads, two_gpus):
    with pytest.raises(SkyEyeError, match="3 replicas, 2 GPUs"):
        _placed(Opening(), 0, 3)


def test_what_is_given_up_is_told_to_the_worker_and_nothing_more_is_sent():
    task, sent, jobs, given_up = Task((), (), (), 5, (), (), False), [], [], []
    messages = iter([(4, task), (5, task), (4, None), None])
    pipe = SimpleNamespace(poll=lambda _: True, recv=lambda: next(messages), send=sent.append)
    _Tasks(pipe, SimpleNamespace(alive=True, submit=jobs.append, give_up=given_up.append)).answer()
    assert given_up == [jobs[0]] and len(jobs) == 2
    for job in jobs:
        job.start()
    assert sent == [(5, "starts")]
