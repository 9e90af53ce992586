"""Progress of long work, told on stderr."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Counter:
    """Progress of work whose functions tell how much of how much is done: a line of tqdm from the first call on."""

    def __init__(self, what: str):
        self.what = what
        self._bar: tqdm | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            interval = 0.1 if sys.stderr.isatty() else 15.0  # a log file needs few lines
            self._bar = tqdm(total=total, desc=self.what, mininterval=interval, dynamic_ncols=True)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()
            self._bar = None  # the same work may begin again, for the next stage
