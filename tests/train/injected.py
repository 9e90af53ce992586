"""Faults and signals that tests put into training processes, by name."""

from __future__ import annotations

import os
import signal


def _signal_at_third_step(number: int) -> None:
    """The last process gets a signal in its third step; the others know nothing of it."""
    from skyeye.train import loop

    real, calls = loop.learning_rate, [0]

    def learning_rate(*args, **kwargs):
        calls[0] += 1
        if calls[0] == 3 and int(os.environ.get("RANK", 0)) == int(os.environ.get("WORLD_SIZE", 1)) - 1:
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    loop.learning_rate = learning_rate


def signal_sigterm_at_third_step() -> None:
    _signal_at_third_step(signal.SIGTERM)


def signal_sigusr1_at_third_step() -> None:
    _signal_at_third_step(signal.SIGUSR1)
