"""The model in a process of its own: the one that listens reads requests while the other computes.

In one process both would take turns (Python's lock), some milliseconds for every request. Tasks go to the model's
process through a pipe, in their order; what is told of their answers comes back through it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading

from skyeye.errors import SkyEyeError
from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.jobs import Job, JobTaker, Piece, Task
from skyeye.serve.api.model_start import END, StartedModel

_log = logging.getLogger("skyeye.serve")


class ModelProcess(JobTaker):
    """A worker in another process.

    Attributes:
        processor: of the model.

    Raises:
        SkyEyeError: the checkpoint cannot be opened.
    """

    def __init__(self, started: StartedModel):
        super().__init__(started.limits)
        self._connection, self._process = started.connection, started.process
        self._jobs: dict[int, Job] = {}
        self._last = 0  # number of a job
        self._lock = threading.Lock()
        self._to_send: queue.SimpleQueue[tuple[int, Task | None] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=target, name=f"skyeye-{name}", daemon=True)
            for target, name in ((self._send, "sender"), (self._receive, "receiver"))
        ]
        self.processor, self.reads = self._opened()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._to_send.put(END)
        for thread in self._threads:
            thread.join()
        self._process.join()

    @property
    def alive(self) -> bool:
        return self._threads[1].is_alive()

    @property
    def waiting(self) -> int:
        return self._count(started=False)

    @property
    def running(self) -> int:
        return self._count(started=True)

    def give_up(self, job: Job) -> None:
        job.cancelled = True
        with self._lock:
            number = next((number for number, each in self._jobs.items() if each is job), None)
            if number is not None:
                del self._jobs[number]
                self._to_send.put((number, None))

    def _put(self, job: Job) -> bool:
        with self._lock:
            if self._stopping:
                return False
            self._last += 1
            self._jobs[self._last] = job
            self._to_send.put((self._last, job.task))
            return True

    def _count(self, started: bool) -> int:
        with self._lock:
            return sum((job.began is not None) == started for job in self._jobs.values())

    def _opened(self) -> tuple[SkyEyeProcessor, int | None]:
        try:
            found = self._connection.recv()
        except EOFError:
            raise self._lost("while it opened the checkpoint") from None
        if isinstance(found, Exception):
            raise found
        return found

    def _lost(self, when: str) -> SkyEyeError:
        self._process.join()
        what = f"the model's process ended {when} (exit status {self._process.exitcode})"
        return SkyEyeError(what, remedy="its last words stand above; -9 may mean that memory was short")

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # it has ended, and the receiver sees it
            while True:
                message = self._to_send.get()
                self._connection.send(message)
                if message is END:
                    return

    def _receive(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._hear(*self._connection.recv())
        if self._stopping:
            return
        with self._lock:
            self._stopping = True
            jobs, self._jobs = list(self._jobs.values()), {}
        self.lost = self._lost("unforeseen")
        _log.error("%d requests are given up: %s", len(jobs), self.lost)
        for job in jobs:
            job.hear(ApiError(self.lost.what, status=500))
        self.when_lost()

    def _hear(self, number: int, what: str | Piece | ApiError) -> None:
        with self._lock:
            job = self._jobs.get(number)
            if job is None:  # given up meanwhile
                return
            if isinstance(what, ApiError) or (
                isinstance(what, Piece) and what.finish_reason and self._is_complete(job, what.choice)
            ):
                del self._jobs[number]
        if isinstance(what, str):
            job.start()
        else:
            job.hear(what)
