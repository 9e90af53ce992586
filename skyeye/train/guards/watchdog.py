"""A run that hangs says so, and where: the stack of every thread of every process, in the run folder."""

from __future__ import annotations

import faulthandler
import math
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from skyeye.train.guards.held_up import HeldUp

#: Exit code of a process that was ended because it hung.
HUNG = 86

#: Seconds between two looks at the clock and at the stacks of the others, at most.
LOOK_EVERY = 10.0

#: Seconds that a process about to end waits for the stacks of the others. Each of them looks every :data:`LOOK_EVERY`
#: seconds, and on a file system that nodes share a new file may be seen a minute late, on either side.
GRACE = 150.0

#: A step may take this many times as long as the longest one of the stage before it is taken for a hang.
USUAL = 3.0


class Watchdog:
    """A thread that expects :meth:`beat` at least every ``seconds``.

    A step that waits is no hang. Time in which the process was stopped, suspended or without a processor
    (:class:`~skyeye.train.guards.held_up.HeldUp`) does not count, and where steps take long, so does what is waited for
    them: :data:`USUAL` times the longest one so far.

    When none comes, the stacks of this process go to ``stacks/rank-N.txt``; each process watches itself, so that a hang
    in communication leaves one file for every rank. After the next beat it watches again.

    With ``abort`` the process ends then. Those that wait for it would fail in the same moment, each with an error that
    says nothing, so all stacks have to be written before the first process ends. Nothing can be sent to a process that
    hangs, but all see the run folder:

    - A file of stacks appears under its name whole, or not at all.
    - Once a process has written its own, every other one does so, too, when its thread next looks (at least every
      :data:`LOOK_EVERY` seconds), however long its own last step is ago, also while it rests.
    - Each waits until the files of all ``world`` processes are there, or :data:`GRACE` seconds have passed: one of them
      may have died, or may not be able to write. Then it ends.
    - A process whose main thread fails because another one has ended already is held in ``__exit__`` until its own
      stacks are written, with that error if it came first, and ends like the others.

    Files of an earlier run in the same folder count for nothing: what matters is what has changed since ``__enter__``.

    Args:
        folder: run folder, the same for all processes.
        rank: number of this process.
        world: number of processes.
        seconds: time between two steps that is no hang, whatever the steps before took; None: nothing is watched.
        abort: end the process then, with exit code :data:`HUNG`; a launcher can start it again.
    """

    def __init__(self, folder: Path, rank: int, world: int, seconds: float | None, abort: bool = False):
        self.path, self.rank, self.world = folder / "stacks" / f"rank-{rank}.txt", rank, world
        self.seconds, self.abort = seconds, abort
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._held_up, self._longest, self._since, self._told = 0.0, 0.0, math.inf, False
        self.beat()

    def beat(self) -> None:
        """A step, or something else that takes about as long, is finished."""
        now = self._now()
        if self._since < math.inf and not self._told:
            self._longest = max(self._longest, now - self._since)
        self._since, self._told = now, False

    def rest(self) -> None:
        """What comes now may take any time; nothing is expected before the next :meth:`beat`.

        All processes have to rest together and to meet before that beat: one that has nothing to do waits for the
        others, which is no hang either.
        """
        self._since = math.inf

    def _now(self) -> float:
        """Seconds of a clock that stands still while the process is held up."""
        return time.monotonic() - self._held_up

    def __enter__(self) -> Watchdog:
        self.beat()
        if self.seconds is not None:
            self._before = self._stacks()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._error = error
        self._ended.set()
        if self._thread is not None:
            self._thread.join()  # for ever, where the process is about to end
        self._error = None  # it holds on to all that the stage had in memory

    def _watch(self) -> None:
        ended, pause, held_up = False, min(self.seconds / 4, LOOK_EVERY), HeldUp()
        while not ended:
            ended = self._ended.wait(pause)
            self._held_up += held_up.seconds(pause)
            quiet = self._now() - self._since
            if quiet > max(self.seconds, USUAL * self._longest) and not self._told and not ended:
                self._give_up(f"no step for {quiet:.0f} s", f"no step finished for {quiet:.0f} s")
            elif self.abort and (self._error is not None or not ended) and (others := self._others()):
                self._give_up(f"{min(others)} came first", f"another process gave up first ({min(others)})")

    def _give_up(self, why: str, said: str) -> None:
        """Write the stacks; with ``abort`` wait for those of the others, then end the process."""
        self._told = True
        try:
            self._tell(why, said)
        finally:  # whatever became of the words
            if self.abort:
                until = time.monotonic() + GRACE
                while len(self._others()) < self.world - 1 and time.monotonic() < until:
                    time.sleep(0.1)
                os._exit(HUNG)

    def _tell(self, why: str, said: str) -> None:
        try:
            self._write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {why}\n")
            where = str(self.path)
        except OSError as error:  # a full disk may be why it hangs
            faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
            where = f"on the terminal, because {self.path} cannot be written ({error.strerror or error})"
        print(f"rank {self.rank}: {said}; what every thread does: {where}", flush=True)

    def _write(self, head: str) -> None:
        """Add to the file of this rank under another name first: whoever sees it under its own sees all of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        with open(partial, "wb") as file:
            file.write(self.path.read_bytes() if self.path.exists() else b"")
            file.write(head.encode())
            if self._error is not None:
                file.write("".join(traceback.format_exception(self._error)).encode())
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        os.replace(partial, self.path)

    def _others(self) -> list[str]:
        """Names of the files of the other ranks that have been written since this one began to watch."""
        now = self._stacks()
        return [name for name in now if name != self.path.name and now[name] != self._before.get(name)]

    def _stacks(self) -> dict[str, tuple[int, int]]:
        """Time of change (ns) and size of each file of stacks, by name."""
        try:
            found = [(path.name, path.stat()) for path in self.path.parent.glob("rank-*.txt")]
        except OSError:  # nothing is known about the others then; this process tells on the terminal and ends alone
            return {}
        return {name: (status.st_mtime_ns, status.st_size) for name, status in found}
