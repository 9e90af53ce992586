"""Starts the model's process. Nothing here imports torch: both processes do it afterwards, at the same time."""

from __future__ import annotations

import os
import signal
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from skyeye.generation.opening import Opening
from skyeye.serve.api.limits import Limits

#: Told of a job: it has its rows.
STARTS = "starts"
#: The last message to the model's process.
END = None
#: Threads that wait for each other sleep, as in ``scripts/threads.sh``: by default they spin, and take the cores from
#: the process that listens and from each other. Read when torch is loaded; what is set already stays.
_SLEEPING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


class StartedModel:
    """The model's process, which opens the checkpoint; as a context it is ended, whatever it does.

    Args:
        checkpoint, opening: see :func:`~skyeye.generation.answer.open_to_answer`.
        place: number of the process and how many there are: each takes a GPU of its own, or its share of the threads.
    """

    def __init__(self, checkpoint: str | Path, opening: Opening, limits: Limits, place: tuple[int, int] = (0, 1)):
        self.limits = limits
        for name, value in _SLEEPING.items():  # both processes have them
            os.environ.setdefault(name, value)
        context = get_context("spawn")  # a fork would share what threads and CUDA have begun
        self.connection, there = context.Pipe()
        self.process: BaseProcess = context.Process(target=_run, args=(there, checkpoint, opening, limits, place))
        self.process.start()
        there.close()

    def __enter__(self) -> StartedModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def _run(
    connection: Connection, checkpoint: str | Path, opening: Opening, limits: Limits, place: tuple[int, int]
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever listens is told as well, and tells when to end
        signal.signal(number, signal.SIG_IGN)
    from skyeye.serve.api.model_side import be_the_model

    be_the_model(connection, checkpoint, opening, limits, place)
