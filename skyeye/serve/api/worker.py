"""One thread that asks the model: requests of all clients are rows of one batch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence

from skyeye.data.record import Turn
from skyeye.data.sequence import IMAGE_TOKEN_ID
from skyeye.generation.engine import SharedGeneration, can_share
from skyeye.generation.plain_batches import PlainGeneration
from skyeye.generation.requests import PromptGroup, SharedAnswer, Token
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.jobs import Job, Piece
from skyeye.serve.api.limits import Limits
from skyeye.serve.api.line import Line, Ready
from skyeye.serve.api.said import Said
from skyeye.serve.pictures import EncodedPictures

_log = logging.getLogger("skyeye.serve")
Generation = SharedGeneration | PlainGeneration


class Worker:
    """Answers jobs until it is stopped.

    Args:
        model: in evaluation mode; nobody else uses it meanwhile.

    Attributes:
        seconds_per_job: how long a request has taken on average lately.
    """

    def __init__(self, model: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor, limits: Limits):
        self.model, self.processor, self.limits = model, processor, limits
        self.builder = processor.builder
        self._ends = frozenset(self.builder.end_token_ids)
        self.pictures = EncodedPictures(model, processor)
        self.seconds_per_job = 1.0
        self._shares = can_share(model) and not _asks_nothing(processor)
        # on a GPU one would wait for the other, and nothing else may run while a graph is captured
        self._line = Line(self._prepare, limits.rows, ahead=model.device.type == "cpu")
        self._stopping = False
        self._jobs: dict[int, Job] = {}  # by number of the group
        self._said: dict[tuple[int, int], Said] = {}
        self._began: dict[int, float] = {}
        self._thread = threading.Thread(target=self._work, name="skyeye-worker", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._line.start()
        self._thread.start()

    def stop(self) -> None:
        """Answer what is there, and end."""
        self._stopping = True
        self._line.end()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Requests that have no row yet."""
        return len(self._line)

    @property
    def running(self) -> int:
        """Requests in work."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Line up a request.

        Raises:
            ApiError: too many wait, with the seconds after which to try again; or the server is ending.
        """
        self.check_room()
        if not self._line.put(job):
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

    def _work(self) -> None:
        while True:
            generation = self._new_generation()
            try:
                for event in generation.stream(self._groups(generation)):
                    if isinstance(event, Token):
                        self._token(event, generation)
                    else:
                        self._answer(event)
                return
            except Exception as error:  # one pass that fails must not end the server; what was in it is told
                _log.exception("a pass of the model failed; %d requests in work are given up", len(self._jobs))
                failed = ApiError(f"the model failed: {type(error).__name__}: {error}", status=500)
                for job in self._jobs.values():
                    _tell(job, failed)
                self._forget()

    def _new_generation(self) -> Generation:
        kind = SharedGeneration if self._shares else PlainGeneration
        return kind(self.model, self.limits.rows, self._ends)

    def _forget(self) -> None:
        for known in (self._jobs, self._said, self._began):
            known.clear()

    # ------------------------------------------------------------------ what enters

    def _groups(self, generation: Generation) -> Iterator[PromptGroup | None]:
        """Requests as groups, None while there is none and others are in work; ends when it is told to stop."""
        number = 0
        while True:
            idle = not generation.in_work
            ready = self._line.take(wait=idle)
            if ready is None and idle:
                return
            if ready is None or ready[0].cancelled:
                yield None
                continue
            job, group = ready
            self._jobs[number] = job
            self._began[number] = time.monotonic()
            for choice in job.unfinished:
                self._said[number, choice] = Said(self.processor, self.builder, job.stops)
            number += 1
            yield group

    def _prepare(self, jobs: Sequence[Job]) -> Iterator[Ready]:
        """Requests with their pictures encoded, together where these do not depend on the question; those whose
        pictures cannot be encoded are told so."""
        jobs = [job for job in jobs if not job.cancelled]
        if not self.model.projector.reads_text:
            try:
                self.pictures.encode([picture.given for job in jobs for picture in job.pictures])
            except Exception as error:
                self._refuse(jobs, error)
                return
        for job in jobs:
            try:
                yield job, self._group(job)
            except Exception as error:
                self._refuse([job], error)

    def _refuse(self, jobs: Sequence[Job], error: Exception) -> None:
        _log.exception("the pictures of %d requests cannot be encoded", len(jobs))
        for job in jobs:
            _tell(job, ApiError(f"the pictures cannot be encoded: {error}", status=500))

    def _group(self, job: Job) -> PromptGroup:
        """The prompts of a request."""
        features = self.pictures.tokens([picture.given for picture in job.pictures], job.turns[0])
        count = len(job.sampling)
        shared = job.pictures and not self.model.projector.reads_text
        key = tuple(picture.given.digest for picture in job.pictures) if shared else None
        return PromptGroup([job.prompt] * count, features, [job.longest] * count, job.sampling, key)

    # ------------------------------------------------------------------ what comes

    def _token(self, token: Token, generation: Generation) -> None:
        job, place = self._jobs[token.group], (token.group, token.prompt)
        if job.cancelled:
            generation.cancel(*place)
            self._finish(*place)
            return
        said = self._said[place]
        said.add(token.id, token.log_probability)
        if not job.streams and not job.stops:
            return
        said.look(last=False)
        if said.stopped:
            generation.cancel(*place)
            self._finish(*place)
            _tell(job, Piece(token.prompt, *said.take(), "stop"))
        elif job.streams and said.has_news:
            _tell(job, Piece(token.prompt, *said.take()))

    def _answer(self, answer: SharedAnswer) -> None:
        job, place = self._jobs[answer.group], (answer.group, answer.prompt)
        said = self._said[place]
        said.look(last=True)
        ended = said.stopped or answer.ids[-1] in self._ends
        reason = "stop" if ended else "length"
        self._finish(*place)
        _tell(job, Piece(answer.prompt, *said.take(), reason, answer.stored_tokens))

    def _finish(self, group: int, choice: int) -> None:
        """An answer is complete, or given up."""
        job = self._jobs[group]
        self._said.pop((group, choice), None)
        job.unfinished.discard(choice)
        if not job.unfinished:
            del self._jobs[group]
            spent = time.monotonic() - self._began.pop(group)
            self.seconds_per_job += 0.1 * (spent - self.seconds_per_job)


def _tell(job: Job, what: Piece | ApiError) -> None:
    if not job.cancelled:
        job.tell(what)


def _ending() -> ApiError:
    return ApiError("the server is ending", status=503, headers={"Retry-After": "5"})


def _asks_nothing(processor: SkyEyeProcessor) -> bool:
    """Whether prompts end with their picture, as in the style ``plain``."""
    return processor.builder.prompt(1, [Turn("what is this", "")])[-1] == IMAGE_TOKEN_ID
