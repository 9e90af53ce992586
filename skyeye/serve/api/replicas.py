"""Several processes with the same model, that answer side by side."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from statistics import fmean

from skyeye.serve.api.jobs import Job, JobTaker
from skyeye.serve.api.model_process import ModelProcess

#: Pictures of which it is known who encoded them last.
_KNOWN = 1024
#: Jobs that who knows a picture may have more than who has fewest, and still be asked about it.
_MORE = 2


class Replicas(JobTaker):
    """A job goes to whoever has fewest, or to whoever has encoded its first picture and is not busier by much.

    When one is lost, none is asked any more: whoever supervises the server starts it again.

    Args:
        processes: of the same checkpoint, with the same limits; those of rows are of each, that of the queue of all.
    """

    def __init__(self, processes: Sequence[ModelProcess]):
        super().__init__(processes[0].limits)
        self._processes = list(processes)
        self.reads = processes[0].reads
        self._encoded_by: OrderedDict[int, ModelProcess] = OrderedDict()  # by the digest of a picture

    def start(self) -> None:
        for process in self._processes:
            process.when_lost = partial(self._is_lost, process)
            process.start()

    def stop(self) -> None:
        self._stopping = True
        for process in self._processes:
            process.stop()

    @property
    def alive(self) -> bool:
        return all(process.alive for process in self._processes)

    @property
    def waiting(self) -> int:
        return sum(process.waiting for process in self._processes)

    @property
    def running(self) -> int:
        return sum(process.running for process in self._processes)

    def give_up(self, job: Job) -> None:
        for process in self._processes:
            process.give_up(job)

    def _put(self, job: Job) -> bool:
        self.seconds_per_job = fmean(process.seconds_per_job for process in self._processes) / len(self._processes)
        busy = {process: process.waiting + process.running for process in self._processes}
        chosen = min(busy, key=busy.__getitem__)
        if pictures := job.task.pictures:
            knows = self._encoded_by.pop(pictures[0].digest, chosen)
            chosen = knows if busy[knows] <= busy[chosen] + _MORE else chosen
            self._encoded_by[pictures[0].digest] = chosen
            while len(self._encoded_by) > _KNOWN:
                self._encoded_by.popitem(last=False)
        return chosen._put(job)

    def _is_lost(self, process: ModelProcess) -> None:
        self._stopping = True
        self.lost = process.lost
        self.when_lost()
