"""The log of a run, ``log.jsonl``: the names of its numbers, and reading it back while it may still be written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Numbers of a log line that are drawn and compared: key -> (title, unit).
METRICS: dict[str, tuple[str, str]] = {
    "loss": ("Loss", "per supervised token"),
    "learning_rate": ("Learning rate", ""),
    "gradient_norm": ("Gradient norm", "before clipping"),
    "samples_per_second": ("Samples", "per second"),
    "tokens_per_second": ("Tokens", "per second, images included"),
    "supervised_tokens_per_second": ("Supervised tokens", "per second"),
    "image_tokens_per_second": ("Image tokens", "per second"),
    "mfu": ("MFU", "share of the devices' peak"),
    "data_wait_share": ("Waiting for data", "share of the time"),
    "padding_share": ("Padding and idle processes", "share of the places"),
    "memory_peak_gib": ("Memory peak", "GiB, first process"),
}
#: Further numbers of a log line.
OTHERS = ("steps", "seconds_left", "step_seconds", "pause_seconds")

LONGEST_LINE = 1 << 20  # bytes of a line of JSON


def read_log(path: Path, notes: list[str] | None = None) -> list[dict[str, Any]]:
    """The lines of a log.jsonl: ``stage``, ``step`` and finite numbers (others are None), in order.

    A run that was resumed has done some steps twice; the later line counts, and what stood behind it is gone.
    """
    notes = [] if notes is None else notes
    stages: dict[str, list[dict[str, Any]]] = {}
    odd = 0
    for entry in read_objects(path, notes):
        stage, step = entry.get("stage"), entry.get("step")
        if not isinstance(stage, str) or as_count(step) is None:
            odd += 1
            continue
        line: dict[str, Any] = {name: as_number(entry[name]) for name in (*METRICS, *OTHERS) if name in entry}
        line |= {"stage": stage, "step": step, "time": str(entry.get("time", ""))[:40]}
        of_stage = stages.setdefault(stage, [])
        while of_stage and of_stage[-1]["step"] >= step:
            of_stage.pop()
        of_stage.append(line)
    if odd:
        notes.append(f"{path.name}: {odd} lines without stage and step are skipped")
    return [line for of_stage in stages.values() for line in of_stage]


def read_objects(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, one a line. What is no object is counted in ``notes``; a last line without its end
    may be in the middle of being written and is not."""
    if not path.is_file():
        return
    broken: list[int] = []
    number = 0
    with open(path, "rb") as file:
        while raw := file.readline(LONGEST_LINE):
            number += 1
            entry = parse_json(raw)
            if isinstance(entry, dict):
                yield entry
            elif raw.strip() and raw.endswith(b"\n"):
                broken.append(number)
    if broken:
        notes.append(f"{path.name}: {len(broken)} lines are no JSON objects, the first is line {broken[0]}")


def parse_json(text: str | bytes) -> Any:
    """JSON, or None for what is none; numbers beyond all bounds and nesting without end are none either."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_count(value: Any) -> int | None:
    """A whole number of steps, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**12 else None


def as_number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e300 or not math.isfinite(value):
        return None
    return float(value)
