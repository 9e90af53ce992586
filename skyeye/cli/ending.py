"""What a command does that is told to end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Ended(BaseException):
    """SIGTERM has come. No error: nobody but :func:`ended_in_order` is to catch it."""


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM leaves every ``with`` on its way, so that temporary folders go, before it ends the process as ever.

    A command that takes the signal itself (training, the servers) goes on to do so. Nothing changes for one of several
    processes that were launched together: it may wait for the others in a call that no handler of Python's interrupts.
    """
    taken = (
        threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    )
    if taken or "WORLD_SIZE" in os.environ:
        yield
        return

    own = os.getpid()

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it at once
        if os.getpid() != own:  # forked: the folders are another's
            signal.raise_signal(signal.SIGTERM)
        raise _Ended

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _Ended:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
