"""A run that hangs says so, and where: the stack of every thread of every process, in the run folder."""

from __future__ import annotations

import faulthandler
import math
import os
import sys
import threading
import time
from pathlib import Path

#: Exit code of a process that was ended because it hung.
HUNG = 86


class Watchdog:
    """A thread that expects :meth:`beat` at least every ``seconds``.

    When none comes, the stacks of this process go to ``stacks/rank-N.txt``; each process watches itself, so that a hang
    in communication leaves one file for every rank. After the next beat it watches again.

    Args:
        folder: run folder.
        rank: number of this process.
        seconds: longest time between two steps; None: nothing is watched.
        abort: end the process then, with exit code :data:`HUNG`; a launcher can start it again.
    """

    def __init__(self, folder: Path, rank: int, seconds: float | None, abort: bool = False):
        self.path, self.rank, self.seconds, self.abort = folder / "stacks" / f"rank-{rank}.txt", rank, seconds, abort
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.beat()

    def beat(self) -> None:
        """A step, or something else that takes about as long, is finished."""
        self._since, self._told = time.monotonic(), False

    def rest(self) -> None:
        """What comes now may take any time; nothing is expected before the next :meth:`beat`.

        All processes have to rest together and to meet before that beat: one that has nothing to do waits for the
        others, which is no hang either.
        """
        self._since = math.inf

    def __enter__(self) -> Watchdog:
        self.beat()
        if self.seconds is not None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(min(self.seconds / 4, 10.0)):
            quiet = time.monotonic() - self._since
            if quiet > self.seconds and not self._told:
                self._told = True
                try:
                    self._tell(quiet)
                finally:  # whatever became of the words
                    if self.abort:
                        os._exit(HUNG)

    def _tell(self, quiet: float) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} no step for {quiet:.0f} s\n")
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
            where = str(self.path)
        except OSError as error:  # a full disk may be why it hangs
            faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
            where = f"on the terminal, because {self.path} cannot be written ({error.strerror or error})"
        print(f"rank {self.rank}: no step finished for {quiet:.0f} s; what every thread does: {where}", flush=True)
