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
    """Requests that wait for the model.

    Args:
        prepare: encodes the pictures of some requests; those of them that can be answered, the others have been told.
        most: requests that are prepared and not taken.
        ahead: a thread of the line prepares them while others are answered, which pays where the one uses cores that
            the other leaves free; otherwise they are prepared when the next one is taken.
    """

    def __init__(self, prepare: Callable[[Sequence[Job]], Iterable[Ready]], most: int, ahead: bool):
        self._prepare, self._most, self._ahead = prepare, most, ahead
        self._waiting: deque[Job] = deque()
        self._prepared: deque[Ready] = deque()
        self._between = 0  # requests that are being prepared
        self._ended = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting) + self._between + len(self._prepared)

    def start(self) -> None:
        """Begin to prepare."""
        if self._ahead:
            threading.Thread(target=self._go_ahead, name="skyeye-encoder", daemon=True).start()

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

    def take(self, wait: bool) -> Ready | None:
        """The next request.

        Args:
            wait: for one that can be taken.

        Returns:
            None where none can be taken now; after waiting, where none will come.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not wait or self._prepared or self._to_prepare() or self._is_empty())
                if self._prepared:
                    self._changed.notify_all()  # there is room for another one
                    return self._prepared.popleft()
                if not self._to_prepare():
                    return None
            self._prepare_some()

    def _to_prepare(self) -> bool:
        """Whether whoever takes has to prepare."""
        return bool(self._waiting) and not self._ahead

    def _is_empty(self) -> bool:
        return self._ended and not len(self)

    def _go_ahead(self) -> None:
        def has_room() -> bool:
            return bool(self._waiting) and len(self._prepared) < self._most

        while True:
            with self._changed:
                self._changed.wait_for(lambda: has_room() or (self._ended and not self._waiting))
                if not self._waiting:
                    return
            self._prepare_some()

    def _prepare_some(self) -> None:
        with self._changed:
            count = min(len(self._waiting), self._most - len(self._prepared), _TOGETHER)
            some = [self._waiting.popleft() for _ in range(count)]
            self._between = count
        ready = list(self._prepare(some))
        with self._changed:
            self._prepared += ready
            self._between = 0
            self._changed.notify_all()
