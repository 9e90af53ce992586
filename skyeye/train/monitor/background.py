"""What process 0 does beside training: pictures and trackers. The other processes wait for none of it.

A step ends when all processes have met, so whatever process 0 does between two steps, all others pay for. Chores are
done one after the other by a thread of their own; one that fails is told and costs nothing else.
"""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from skyeye.train.monitor.trackers import Shown, Tracker

#: Seconds that the end of a run waits for what is still to be done, such as an upload.
PATIENCE = 300.0


class Chores:
    """A thread that does what it is given in order; without chores there is no thread."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[str, Callable, tuple]] = queue.Queue()
        self._thread: threading.Thread | None = None

    def add(self, name: str, work: Callable, *arguments: Any) -> None:
        """Do ``work(*arguments)`` as soon as everything before it is done; ``name`` is for messages."""
        self._waiting.put((name, work, arguments))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="chores", daemon=True)
            self._thread.start()
            atexit.register(self.finish)  # also when the run ends with an error

    def finish(self, seconds: float = PATIENCE) -> None:
        """Wait until all is done; after ``seconds`` what is left is given up, and that is said."""
        if self._thread is None:
            return
        done = threading.Event()
        self._waiting.put(("", done.set, ()))
        if not done.wait(seconds):
            print(f"not done after {seconds:g} s and given up: {self._now}", flush=True)

    def _work(self) -> None:
        while True:
            self._now, work, arguments = self._waiting.get()
            try:
                work(*arguments)
            except Exception as error:  # whatever a library throws: training does not depend on it
                print(f"{self._now} failed, the run goes on without: {type(error).__name__}: {error}", flush=True)


class BackgroundTracker:
    """A tracker whose every call is a chore, its start included: a server that does not answer delays nobody.

    Args:
        chores: the thread.
        start: makes the tracker. When it fails, the calls that follow do nothing.
    """

    def __init__(self, chores: Chores, start: Callable[[], Tracker]):
        self._chores, self._tracker = chores, None
        chores.add("starting the trackers", self._start, start)

    def _start(self, start: Callable[[], Tracker]) -> None:
        self._tracker = start()

    def _call(self, method: str, *arguments: Any) -> None:
        if self._tracker is not None:
            getattr(self._tracker, method)(*arguments)

    def numbers(self, stage: str, step: int, values: dict[str, float]) -> None:
        """As :meth:`Tracker.numbers`."""
        self._chores.add("tracking numbers", self._call, "numbers", stage, step, values)

    def samples(self, stage: str, step: int, shown: Sequence[Shown]) -> None:
        """As :meth:`Tracker.samples`."""
        self._chores.add("tracking samples", self._call, "samples", stage, step, shown)

    def finish(self) -> None:
        """As :meth:`Tracker.finish`."""
        self._chores.add("finishing the trackers", self._call, "finish")


#: Those of this process.
CHORES = Chores()
