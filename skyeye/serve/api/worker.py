"""One thread that asks the model: requests of all clients are rows of one batch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

import torch

from skyeye.data.record import Turn
from skyeye.data.sequence import IMAGE_TOKEN_ID
from skyeye.generation.engine import SharedGeneration, can_share
from skyeye.generation.limit import tokens_read
from skyeye.generation.plain_batches import PlainGeneration
from skyeye.generation.requests import PromptGroup, SharedAnswer, Token
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.jobs import Job, JobTaker, Piece
from skyeye.serve.api.limits import Limits
from skyeye.serve.api.line import Line, Ready
from skyeye.serve.api.said import Said
from skyeye.serve.pictures import EncodedPictures, Reduced

_log = logging.getLogger("skyeye.serve")
Generation = SharedGeneration | PlainGeneration
#: A request waits for others, to be encoded and to enter with them: until there are as many as this share of those in
#: work, and no longer than for this many tokens of theirs.
_COMPANY, _PATIENCE = 0.2, 4


class Worker(JobTaker):
    """A thread of this process.

    Args:
        model: in evaluation mode; nobody else uses it meanwhile.
    """

    def __init__(self, model: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor, limits: Limits):
        super().__init__(limits)
        self.model, self.processor, self.reads = model, processor, tokens_read(model)
        self.builder = processor.builder
        self._ends = frozenset(self.builder.end_token_ids)
        self.pictures = EncodedPictures(model, processor)
        self._shares = can_share(model) and not _asks_nothing(processor)
        self._line = Line(self._prepare, limits.rows)
        self._jobs: dict[int, Job] = {}  # by number of the group
        self._said: dict[tuple[int, int], Said] = {}
        self._thread = threading.Thread(target=self._work, name="skyeye-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._line.end()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def running(self) -> int:
        return len(self._jobs)

    def give_up(self, job: Job) -> None:
        job.cancelled = True  # seen at its next token, or when it is taken

    def _put(self, job: Job) -> bool:
        return self._line.put(job)

    def rehearse(self, answers: int, longest: int) -> None:
        """Answer made-up requests, each about a picture of its own; before :meth:`start`."""
        turns = (Turn("what is this", ""),)
        prompt, pictures = self.builder.prompt(1, turns), EncodedPictures(self.model, self.processor)
        noise = torch.Generator().manual_seed(0)
        shown = [Reduced(torch.randn(self.model.config.pixel_shape, generator=noise), n) for n in range(answers)]
        groups = (PromptGroup([prompt], pictures.tokens([each], turns[0]), [longest]) for each in shown)
        for _ in self._new_generation().stream(groups):
            pass

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
                    job.hear(failed)
                self._jobs.clear()
                self._said.clear()

    def _new_generation(self) -> Generation:
        kind = SharedGeneration if self._shares else PlainGeneration
        return kind(self.model, self.limits.rows, self._ends)

    # ------------------------------------------------------------------ what enters

    def _groups(self, generation: Generation) -> Iterator[PromptGroup | None]:
        """Requests as groups, None while there is none and others are in work; ends when it is told to stop."""
        number = waited = 0
        while True:
            idle = not generation.in_work
            company = int(_COMPANY * generation.in_work) if waited < _PATIENCE else 0
            ready = self._line.take(wait=idle, least=max(1, company))
            waited = waited + 1 if ready is None and len(self._line) else 0
            if ready is None and idle:
                return
            if ready is None or ready[0].cancelled:
                yield None
                continue
            job, group = ready
            self._jobs[number] = job
            job.start()
            for choice in job.unfinished:
                self._said[number, choice] = Said(self.builder, job.task.stops)
            number += 1
            yield group

    def _prepare(self, jobs: Sequence[Job]) -> Iterator[Ready]:
        """Requests with their pictures encoded, together where these do not depend on the question; those whose
        pictures cannot be encoded are told so."""
        jobs = [job for job in jobs if not job.cancelled]
        if not self.model.projector.reads_text:
            try:
                self.pictures.encode([picture for job in jobs for picture in job.task.pictures])
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
            job.hear(ApiError(f"the pictures cannot be encoded: {error}", status=500))

    def _group(self, job: Job) -> PromptGroup:
        """The prompts of a request."""
        task = job.task
        features = self.pictures.tokens(task.pictures, task.turns[0])
        count = len(task.sampling)
        shared = task.pictures and not self.model.projector.reads_text
        key = tuple(picture.digest for picture in task.pictures) if shared else None
        return PromptGroup([task.prompt] * count, features, [task.longest] * count, task.sampling, key)

    # ------------------------------------------------------------------ what comes

    def _token(self, token: Token, generation: Generation) -> None:
        job, place = self._jobs[token.group], (token.group, token.prompt)
        if job.cancelled:
            generation.cancel(*place)
            self._finish(*place)
            return
        said = self._said[place]
        said.add(token.id, token.log_probability)
        if not job.task.streams and not job.task.stops:
            return
        said.look(last=False)
        if said.stopped:
            generation.cancel(*place)
            self._finish(*place)
            job.hear(Piece(token.prompt, *said.take(), "stop"))
        elif job.task.streams and said.has_news:
            job.hear(Piece(token.prompt, *said.take()))

    def _answer(self, answer: SharedAnswer) -> None:
        job, place = self._jobs[answer.group], (answer.group, answer.prompt)
        said = self._said[place]
        said.look(last=True)
        ended = said.stopped or answer.ids[-1] in self._ends
        reason = "stop" if ended else "length"
        self._finish(*place)
        job.hear(Piece(answer.prompt, *said.take(), reason, answer.stored_tokens))

    def _finish(self, group: int, choice: int) -> None:
        """An answer is complete, or given up."""
        self._said.pop((group, choice), None)
        if self._is_complete(self._jobs[group], choice):
            del self._jobs[group]


def _asks_nothing(processor: SkyEyeProcessor) -> bool:
    """Whether prompts end with their picture, as in the style ``plain``."""
    return processor.builder.prompt(1, [Turn("what is this", "")])[-1] == IMAGE_TOKEN_ID
