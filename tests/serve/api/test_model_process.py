"""The model in a process of its own: it says what a worker of this process says, and its end is told."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.generation.opening import Opening
from skyeye.generation.sampling import GREEDY
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.jobs import Job, Piece, Task
from skyeye.serve.api.limits import Limits
from skyeye.serve.api.model_process import ModelProcess
from skyeye.serve.api.model_start import StartedModel
from skyeye.serve.model import Model
from skyeye.serve.pictures import Reduced, show
from tests.serve.api.conftest import about, data_url, noise
from tests.serve.api.test_load import until

CPU = Opening(device="cpu")


@pytest.fixture(scope="module")
def checkpoint(parts, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for part in parts:
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def process(checkpoint):
    with StartedModel(checkpoint, CPU, Limits(rows=2)) as started:
        found = ModelProcess(started)
        found.start()
        yield found


def asked(process: ModelProcess, seed: int, longest: int, streams: bool = False) -> tuple[Job, queue.SimpleQueue]:
    """A job about a picture, and what is told of it."""
    told: queue.SimpleQueue[Piece | ApiError] = queue.SimpleQueue()
    turns = (Turn("how many ships?", ""),)
    pictures = (Reduced.of(show(noise(seed)), process.processor),)
    prompt = process.processor.builder.prompt(1, turns)
    return Job(Task(turns, pictures, prompt, longest, [GREEDY], (), streams), told.put), told


def told_text(told: queue.SimpleQueue) -> str:
    text = ""
    while True:
        piece = told.get(timeout=30)
        text += piece.text
        if piece.finish_reason:
            return text


def give_up_two_of_three(process: ModelProcess) -> None:
    sent, send = [], process._connection.send
    process._connection.send = lambda message: sent.append(message) or send(message)
    jobs = [asked(process, seed, 60, streams=True) for seed in range(3)]
    for job, _ in jobs:
        process.submit(job)
    given_up = [jobs[0], jobs[2]]  # one in work, one that waits
    for job, _ in given_up:
        process.give_up(job)
    assert told_text(jobs[1][1])
    until(lambda: process.running == process.waiting == 0)
    first = sent[0][0]
    assert [number for number, task in sent if task is None] == [first, first + 2], "the other process frees their rows"
    assert all(told.empty() or told.get().finish_reason is None for _, told in given_up)
    process.submit((again := asked(process, 0, 2))[0])
    assert told_text(again[1]) is not None


def test_threads_of_the_model_that_wait_sleep_unless_it_is_said_otherwise(checkpoint, monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "")  # so that it is put back behind the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("KMP_BLOCKTIME", "7")
    with StartedModel(checkpoint, CPU, Limits()) as started:
        given = dict(
            each.split("=", 1) for each in Path(f"/proc/{started.process.pid}/environ").read_text().split("\0") if each
        )
    found = {name: given.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
    assert found == {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "7"}


def test_it_says_what_a_model_of_this_process_says_to_whoever_waits(process, parts):
    give_up_two_of_three(process)
    model, jobs = Model(*parts), [asked(process, seed, 12, streams=seed % 2 == 0) for seed in range(6)]
    assert process.reads == model.limit
    for job, _ in jobs:
        process.submit(job)
    for seed, (_, told) in enumerate(jobs):
        assert told_text(told) == model.ask(noise(seed), "how many ships?", max_new_tokens=12).text
    assert process.running == process.waiting == 0
    last, told = asked(process, 9, 3)
    process.submit(last)
    process.stop()  # answers what is there
    assert told_text(told) and not process.alive and process.lost is None
    with pytest.raises(ApiError, match="is ending"):
        process.submit(asked(process, 9, 3)[0])


def test_what_is_wrong_with_a_checkpoint_is_told(checkpoint, tmp_path):
    with StartedModel(tmp_path / "none", CPU, Limits()) as started, pytest.raises(SkyEyeError, match="none") as found:
        ModelProcess(started)
    assert found.value.what and found.value.where


def test_a_process_that_is_killed_is_told_to_everybody(process):
    lost: queue.SimpleQueue[bool] = queue.SimpleQueue()
    process.when_lost = lambda: lost.put(True)
    jobs = [asked(process, seed, 100, streams=True) for seed in range(4)]
    for job, _ in jobs:
        process.submit(job)
    jobs[0][1].get(timeout=30)
    process._process.kill()
    assert lost.get(timeout=30) and not process.alive and "-9" in str(process.lost)
    for _, told in jobs[1:]:
        last = _drained(told)[-1]
        assert isinstance(last, ApiError) and last.status == 500 and "ended unforeseen" in last.message
    with pytest.raises(ApiError, match="is ending"):
        process.submit(asked(process, 0, 3)[0])


def _drained(told: queue.SimpleQueue) -> list:
    found = [told.get(timeout=30)]
    while not isinstance(found[-1], ApiError):
        found.append(told.get(timeout=30))
    return found


@pytest.fixture
def server(checkpoint):
    """``skyeye serve``: its process, its address, and the process of its model."""
    command = [sys.executable, "-m", "skyeye", "serve", str(checkpoint), "--device", "cpu", "--name", "tiny"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--log-level", "warning"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = process.stdout.readline().split()[-1]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        model = next(int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text())
        yield process, url, model
    finally:
        process.kill()
        process.communicate()


def ended(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_server_ends_with_an_error_when_its_model_is_lost(server, parts):
    process, url, model = server
    body = {"model": "tiny", "messages": about("how many ships?", data_url(noise(1))), "max_tokens": 8}
    answer = requests.post(f"{url}/chat/completions", json=body, timeout=30).json()
    said = Model(*parts).ask(noise(1), "how many ships?", max_new_tokens=8).text
    assert answer["choices"][0]["message"]["content"] == said
    os.kill(model, signal.SIGKILL)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 2 and "the model's process ended unforeseen (exit status -9)" in told.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends_leaves_no_process_behind(server, number):
    process, _, model = server
    os.kill(model, signal.SIGTERM)  # a service manager tells all processes; the model waits for the other's word
    time.sleep(0.2)
    assert not ended(model)
    process.send_signal(number)
    assert process.wait(30) == -number
    until(lambda: ended(model))
