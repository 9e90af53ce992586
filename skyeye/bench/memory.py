"""Memory of processes that are measured. Imports no torch: who is measured may import this."""

from __future__ import annotations

from pathlib import Path


def tree_bytes(pid: int) -> int:
    """Memory of a process and everything below it (Linux): a page that several of them share counts once (Pss)."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += tree_bytes(int(child))
    except OSError:
        pass  # it has just ended
    return total
