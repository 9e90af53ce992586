"""What is asked of a model, who answers it, and how it is told."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.generation.sampling import Sampling
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.limits import Limits
from skyeye.serve.pictures import Reduced


@dataclass(frozen=True)
class Piece:
    """What has been added to an answer.

    Attributes:
        choice: which of the answers.
        text: new text.
        ids, log_probabilities: new tokens; the latter where they were asked for.
        finish_reason: ``stop`` or ``length``, of the last piece; else None.
    """

    choice: int
    text: str
    ids: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    finish_reason: str | None = None
    stored_tokens: int = 0


@dataclass(frozen=True)
class Task:
    """What a model is given of a request.

    Attributes:
        prompt: ids.
        longest: tokens of an answer.
        sampling: of each answer.
        stops: texts that end an answer.
        streams: pieces are told as they come; otherwise each answer is one piece.
    """

    turns: tuple[Turn, ...]
    pictures: tuple[Reduced, ...]
    prompt: Sequence[int]
    longest: int
    sampling: Sequence[Sampling]
    stops: tuple[str, ...]
    streams: bool


@dataclass(eq=False)
class Job:
    """A task, and whom to tell.

    Attributes:
        tell: called with a :class:`Piece`, or with the error that ended the job; from a thread of the worker.
        starts: called when it gets its rows; from a thread of the worker.
        began: when it got them; None: it waits.
        cancelled: nobody waits for it any more; nothing more is told then.
        unfinished: answers that are not complete.
    """

    task: Task
    tell: Callable[[Piece | ApiError], Any]
    starts: Callable[[], Any] = lambda: None
    began: float | None = None
    cancelled: bool = False
    unfinished: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.unfinished = set(range(len(self.task.sampling)))

    def start(self) -> None:
        """It has its rows."""
        self.began = time.monotonic()
        self.starts()

    def hear(self, what: Piece | ApiError) -> None:
        """Tell it, unless nobody waits."""
        if not self.cancelled:
            self.tell(what)


class JobTaker(ABC):
    """Answers jobs until it is stopped.

    Attributes:
        reads: tokens that the model reads, prompt and answer together; None: any number.
        seconds_per_job: how long a request has taken on average lately.
        lost: why it cannot answer any more; None: it can.
        when_lost: called when it cannot; from a thread of its own.
    """

    reads: int | None

    def __init__(self, limits: Limits):
        self.limits = limits
        self.seconds_per_job = 1.0
        self.lost: SkyEyeError | None = None
        self.when_lost: Callable[[], Any] = lambda: None
        self._stopping = False

    @abstractmethod
    def start(self) -> None:
        """Begin to answer."""

    @abstractmethod
    def stop(self) -> None:
        """Answer what is there, and end."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it answers."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Requests that have no row yet."""

    @property
    @abstractmethod
    def running(self) -> int:
        """Requests in work."""

    @abstractmethod
    def give_up(self, job: Job) -> None:
        """Nobody waits for a job any more; one that is complete is not looked for."""

    @abstractmethod
    def _put(self, job: Job) -> bool:
        """Line up a request; False: it is ending."""

    def submit(self, job: Job) -> None:
        """Line up a request.

        Raises:
            ApiError: too many wait, with the seconds after which to try again; or the server is ending.
        """
        self.check_room()
        if not self._put(job):
            raise _ending()

    def check_room(self) -> None:
        """Whether a request would be taken.

        Raises:
            ApiError: as :meth:`submit`.
        """
        if self._stopping:
            raise _ending()
        if (waiting := self.waiting) >= self.limits.queue:
            seconds = max(1, round(self.seconds_per_job * waiting / self.limits.rows))
            what = f"{waiting} requests wait already; try again in {seconds} s"
            raise ApiError(what, status=429, code="queue_full", headers={"Retry-After": str(seconds)})

    def _is_complete(self, job: Job, choice: int) -> bool:
        """One of its answers is complete or given up: whether it was the last."""
        job.unfinished.discard(choice)
        if not job.unfinished and job.began is not None:
            self.seconds_per_job += 0.1 * (time.monotonic() - job.began - self.seconds_per_job)
        return not job.unfinished


def _ending() -> ApiError:
    return ApiError("the server is ending", status=503, headers={"Retry-After": "5"})
