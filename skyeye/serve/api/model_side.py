"""What the model's process does: tasks come through a pipe, what is told of them goes back."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from skyeye.errors import SkyEyeError
from skyeye.generation.answer import open_to_answer
from skyeye.generation.opening import Opening
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.jobs import Job, Piece, Task
from skyeye.serve.api.limits import Limits
from skyeye.serve.api.model_start import END, STARTS
from skyeye.serve.api.threads import choose_threads
from skyeye.serve.api.worker import Worker

_LOOK_EVERY = 1.0  # seconds between two looks at the worker
#: Seconds of a picture's first word, with all threads, of a model of some million parameters: trying takes 100 times it
_AT_ONCE = 0.05


def be_the_model(
    connection: Connection, checkpoint: str | Path, opening: Opening, limits: Limits, place: tuple[int, int]
) -> None:
    """Open the checkpoint, say what it is, and answer until there is nothing more.

    Args:
        place: see :class:`~skyeye.serve.api.model_start.StartedModel`.
    """
    transformers_logging.disable_progress_bar()
    try:
        model, processor = open_to_answer(checkpoint, _placed(opening, *place))
        worker = Worker(model.eval(), processor, limits)
    except (SkyEyeError, OSError) as error:
        connection.send(error)
        return
    if model.device.type == "cpu":
        _choose_threads(worker)
    gc.freeze()  # what is loaded stays: the collector need not look through it every few hundred answers
    connection.send((processor, worker.reads))
    worker.start()
    with contextlib.suppress(EOFError):  # whoever listens was killed
        _Tasks(connection, worker).answer()
        worker.stop()


def _placed(opening: Opening, number: int, of: int) -> Opening:
    """With the GPU of this replica, unless a certain device was asked for; on a CPU it takes its share of the threads.

    Raises:
        SkyEyeError: there is no GPU left for it.
    """
    if of == 1:
        return opening
    torch.set_num_threads(max(1, torch.get_num_threads() // of))
    if opening.device not in (None, "cuda") or not torch.cuda.is_available():
        return opening
    if of > (there := torch.cuda.device_count()):
        remedy = "ask for as many, or for several on one: --device cuda:0"
        raise SkyEyeError(f"{of} replicas, {there} GPUs", where="--replicas", remedy=remedy)
    return replace(opening, device=f"cuda:{number}")


def _choose_threads(worker: Worker) -> None:
    """A model that answers a word at once is tried with fewer threads; larger ones compute with all."""
    most = torch.get_num_threads()
    worker.rehearse(answers=1, longest=1)
    began = time.perf_counter()
    worker.rehearse(answers=1, longest=1)
    if time.perf_counter() - began < _AT_ONCE:
        chosen = choose_threads(partial(worker.rehearse, answers=8, longest=12))
        if chosen < most:
            print(f"answers with {chosen} of {most} threads: fastest for a model of this size", file=sys.stderr)


class _Tasks:
    """Tasks that come through a pipe, handed to a worker; what it tells of them goes back."""

    def __init__(self, connection: Connection, worker: Worker):
        self._connection, self._worker = connection, worker
        self._jobs: dict[int, Job] = {}
        self._sending = threading.Lock()

    def answer(self) -> None:
        """Until the end is told.

        Raises:
            EOFError: nobody is there any more.
            RuntimeError: the worker has ended before.
        """
        while True:
            while not self._connection.poll(_LOOK_EVERY):
                if not self._worker.alive:
                    raise RuntimeError("the worker has ended")
            message = self._connection.recv()
            if message is END:
                return
            number, task = message
            if task is not None:
                self._begin(number, task)
            elif job := self._jobs.pop(number, None):
                self._worker.give_up(job)

    def _begin(self, number: int, task: Task) -> None:
        self._jobs[number] = job = Job(task, partial(self._tell, number), partial(self._tell, number, STARTS))
        try:
            self._worker.submit(job)
        except ApiError as error:
            self._tell(number, error)

    def _tell(self, number: int, what: str | Piece | ApiError) -> None:
        job = self._jobs.get(number)
        if job is None:  # given up meanwhile
            return
        if isinstance(what, ApiError) or not job.unfinished:
            self._jobs.pop(number, None)
        with self._sending, contextlib.suppress(OSError):  # nobody is there any more: answer() sees it as well
            self._connection.send((number, what))
