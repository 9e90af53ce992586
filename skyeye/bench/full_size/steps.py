"""Run named steps one after the other, each in a process of its own, and write down what each took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from skyeye.data.files import write_json

#: Letters of a step's output that are kept.
_KEPT = 400


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: unique; what the table calls it.
        arguments: of ``python -m``.
        seconds: it is ended after these.
        result: a JSON file that the command writes; it goes into the result.
        needs: packages, without which the step is skipped.
        after: an earlier step, which has to have succeeded.
        gpu: it is skipped without an NVIDIA GPU.
    """

    name: str
    arguments: Sequence[str]
    seconds: float
    result: Path | None = None
    needs: Sequence[str] = ()
    after: str | None = None
    gpu: bool = False


def run_steps(steps: Sequence[Step], work: Path, out: Path, *, seconds: float, about: dict[str, Any]) -> dict[str, Any]:
    """Run the steps in their order; ``out`` holds the result from the first one on.

    Args:
        work: folder that the steps write to.
        seconds: for all of them together; what does not fit any more is skipped.
        about: what the result says besides: sizes, machine.
    """
    began, found = time.monotonic(), {**about, "steps": {}}
    work.mkdir(parents=True, exist_ok=True)
    gpu = _has_gpu()
    for step in steps:
        left = seconds - (time.monotonic() - began)
        reason = _why_not(step, found["steps"], gpu, left)
        entry = {"skipped": reason} if reason else _measured(step, work, min(left, step.seconds))
        found["steps"][step.name] = {"command": f"python -m {' '.join(step.arguments)}", **entry}
        write_json(out, found, indent=1)
        print(line_of(step.name, found["steps"][step.name]), flush=True)
    return found


def _why_not(step: Step, done: dict[str, Any], gpu: bool, left: float) -> str | None:
    """Why a step is not run."""
    missing = [name for name in step.needs if find_spec(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if step.gpu and not gpu:
        return "no NVIDIA GPU"
    if step.after is not None and done[step.after].get("code") != 0:
        return f"needs {step.after}"
    return "the time is up" if left <= 0 else None


def _has_gpu() -> bool:
    words = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", words], stderr=subprocess.DEVNULL).returncode == 0


def _measured(step: Step, work: Path, seconds: float) -> dict[str, Any]:
    """Run a step: exit code, seconds, peak memory, what it wrote and said."""
    before, began = _bytes_below(work), time.monotonic()
    log = work / f"{step.name}.log"
    with log.open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", *step.arguments], stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        timer = threading.Timer(seconds, os.killpg, (child.pid, signal.SIGKILL))
        timer.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)  # of the child and what it has waited for
        finally:
            timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)  # else it would be waited for once more
    spent = time.monotonic() - began
    entry = {
        "code": child.returncode,
        "seconds": round(spent, 1),
        "host_gib": round(usage.ru_maxrss * 1024 / 2**30, 2),
        "written_gb": round((_bytes_below(work) - before) / 1e9, 3),
        "said": log.read_text(encoding="utf-8", errors="replace").strip()[-_KEPT:],
    }
    if child.returncode == -signal.SIGKILL and spent >= seconds:
        entry["ended"] = f"after its {seconds:.0f} s"
    if step.result is not None and step.result.is_file():
        entry["result"] = json.loads(step.result.read_text(encoding="utf-8"))
        entry["device_gib"] = entry["result"].get("peak_memory_gib")
    return entry


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def line_of(name: str, entry: dict[str, Any]) -> str:
    """A row of the table in Markdown: step, seconds, host and device memory, bytes written, what came of it."""
    if "skipped" in entry:
        return f"| {name} | | | | | skipped: {entry['skipped']} |"
    device = entry.get("device_gib")
    outcome = entry.get("ended") or ("done" if entry["code"] == 0 else f"failed with code {entry['code']}")
    ratio = entry.get("result", {}).get("ratio_samples_per_second") if isinstance(entry.get("result"), dict) else None
    if ratio:
        outcome += f", {ratio['median']} x the plain form"
    cells = [name, entry["seconds"], entry["host_gib"], "" if device is None else device, entry["written_gb"], outcome]
    return "| " + " | ".join(map(str, cells)) + " |"
