"""Time in which a process could not go on, because the machine did not let it."""

from __future__ import annotations

import time
from pathlib import Path

#: A folder for each thread; the second number of its ``schedstat`` is how long it waited for a processor, ns.
_THREADS = Path("/proc/self/task")


class HeldUp:
    """Tells, from look to look, how long this process was stopped, suspended with its machine, or without a processor
    because other work had all of them.

    The last is known on Linux alone: of the thread that waited longest, since the others may be waiting for that one.
    """

    def __init__(self) -> None:
        self._looked, self._waited = time.perf_counter(), _waits()

    def seconds(self, expected: float) -> float:
        """Since the last look.

        Args:
            expected: seconds after which this look should have come, had the process not been held up.
        """
        now, waits = time.perf_counter(), _waits()
        passed = now - self._looked
        starved = max((after - self._waited.get(thread, after) for thread, after in waits.items()), default=0) / 1e9
        self._looked, self._waited = now, waits
        return min(passed, max(0.0, passed - expected, starved))


def _waits() -> dict[str, int]:
    """Nanoseconds that each thread has waited for a processor in its life."""
    found = {}
    for file in _THREADS.glob("*/schedstat"):
        try:
            found[file.parent.name] = int(file.read_text().split()[1])
        except (OSError, ValueError, IndexError):  # the thread has ended, or this kernel counts nothing
            continue
    return found
