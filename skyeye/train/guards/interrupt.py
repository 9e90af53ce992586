"""Requests to stop: from the keyboard and from the batch system. Both are heard between steps; the state is saved."""

from __future__ import annotations

import signal

#: Exit code of ``skyeye train`` after SIGTERM or SIGUSR1, with the state saved: start the same command with --resume.
REQUEUE = 85


class Interrupt:
    """Ctrl-C, SIGTERM and SIGUSR1 ask the run to stop after the step it is in; a second Ctrl-C ends it at once.

    SLURM announces the end of a job's time with the signal that ``--signal`` names, and pre-emption with SIGTERM; a
    run that was stopped by one of them wants to be queued again, one that was stopped at the keyboard does not.

    Attributes:
        asked: somebody wants this process to stop.
        requeue: it was the batch system.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self.asked = self.requeue = False

    def __enter__(self) -> Interrupt:
        self._previous = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: object) -> None:
        if number == signal.SIGINT and self.asked:
            raise KeyboardInterrupt
        self.asked, self.requeue = True, self.requeue or number != signal.SIGINT
        hint = "; press Ctrl-C again to stop at once" if number == signal.SIGINT else ""
        print(f"\n{signal.Signals(number).name}: stopping after this step{hint}", flush=True)
