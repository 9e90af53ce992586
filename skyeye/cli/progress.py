"""Progress of long work, told on stderr."""

from __future__ import annotations

import sys


class Counter:
    """Progress as one line: rewritten in place on a terminal, at every tenth elsewhere."""

    def __init__(self, what: str):
        self.what, self.shown = what, -1

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if sys.stderr.isatty():
            print(f"\r{self.what} {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif tenth > self.shown:
            self.shown = tenth
            print(f"{self.what} {done}/{total}", file=sys.stderr, flush=True)
