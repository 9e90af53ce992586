"""Requests in their order: those that wait, and those whose pictures are encoded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from skyeye.generation.requests import PromptGroup
from skyeye.serve.api.jobs import Job

Ready = tuple[Job, PromptGroup]
#: Requests that are prepared in one pass: more would only take memory.
_TOGETHER = 32


class Line:
    """Requests that wait for the model, from any thread, for one that takes them.

    They are prepared when the next one is taken and none is ready. A thread that prepares them ahead gained nothing,
    on two cores: it takes from the passes what it saves them.

    Args:
        prepare: encodes the pictures of some requests; those of them that can be answered, the others have been told.
        most: requests that are prepared and not taken.
    """

    def __init__(self, prepare: Callable[[Sequence[Job]], Iterable[Ready]], most: int):
        self._prepare, self._together = prepare, min(most, _TOGETHER)
        self._waiting: deque[Job] = deque()
        self._prepared: deque[Ready] = deque()
        self._between = 0  # requests that are being prepared
        self._ended = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting) + self._between + len(self._prepared)

    def put(self, job: Job) -> bool:
        """Line up a request; False: the line has ended."""
        with self._changed:
            if not self._ended:
                self._waiting.append(job)
                self._changed.notify_all()
            return not self._ended

    def end(self) -> None:
        """Nothing will be lined up any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, wait: bool, least: int = 1) -> Ready | None:
        """The next request.

        Args:
            wait: for one that can be taken.
            least: requests that are to be prepared together; where fewer are there, and none is prepared, none can be
                taken now. Not heeded when waiting.

        Returns:
            None where none can be taken now; after waiting, where none will come.
        """
        while not self._prepared:
            with self._changed:
                self._changed.wait_for(lambda: not wait or self._waiting or self._ended)
                if not wait and len(self._waiting) < least:
                    return None
                some = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._together))]
                self._between = len(some)
            if not some:
                return None
            self._prepared += self._prepare(some)
            self._between = 0
        return self._prepared.popleft()
