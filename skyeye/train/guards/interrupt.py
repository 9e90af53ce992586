"""Requests to stop: from the keyboard and from the batch system. Both are heard between steps; the state is saved."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from typing import Any, TextIO

#: Exit code of ``skyeye train`` after SIGTERM, SIGUSR1 or SIGHUP, with the state saved: start the same command with
#: --resume.
REQUEUE = 85


class Interrupt:
    """Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP ask the run to stop after the step it is in; a second Ctrl-C ends it at once.

    SLURM announces the end of a job's time with the signal that ``--signal`` names, and pre-emption with SIGTERM; a
    terminal that is closed and a connection that breaks send SIGHUP. A run that was stopped by one of them wants to be
    started again, one that was stopped at the keyboard does not. Under ``nohup`` SIGHUP goes on being ignored.

    Attributes:
        asked: somebody wants this process to stop.
        requeue: it was not the keyboard.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)

    def __init__(self) -> None:
        self.asked = self.requeue = False

    def __enter__(self) -> Interrupt:
        heard = [number for number in self.SIGNALS if not (number == signal.SIGHUP and _ignored(number))]
        self._previous = {number: signal.signal(number, self._handle) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: object) -> None:
        if number == signal.SIGINT and self.asked:
            raise KeyboardInterrupt
        self.asked, self.requeue = True, self.requeue or number != signal.SIGINT
        if number == signal.SIGHUP:  # what is printed from here on may have nowhere to go
            sys.stdout, sys.stderr = _Deaf(sys.stdout), _Deaf(sys.stderr)  # type: ignore[assignment]
        hint = "; press Ctrl-C again to stop at once" if number == signal.SIGINT else ""
        print(f"\n{signal.Signals(number).name}: stopping after this step{hint}", flush=True)


def _ignored(number: int) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN


class _Deaf:
    """A stream that does not mind when its terminal has gone."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
