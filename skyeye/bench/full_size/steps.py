"""Run named steps one after the other, each in a process of its own, and write down what each took."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
        kill_at: it is killed as soon as this path is there, which is how it is meant to end.
        disk: free bytes, without which it is skipped.
        clears: folder that is removed once it was measured.
        stage: of the plan, whose memory it takes.
        may_fail: its exit code tells what it found, and not that it did not work.
    """

    name: str
    arguments: Sequence[str]
    seconds: float
    result: Path | None = None
    needs: Sequence[str] = ()
    after: str | None = None
    gpu: bool = False
    kill_at: Path | None = None
    disk: int = 0
    clears: Path | None = None
    stage: str | None = None
    may_fail: bool = False


def run_steps(steps: Sequence[Step], work: Path, out: Path, *, seconds: float, about: dict[str, Any]) -> dict[str, Any]:
    """Run the steps in their order; ``out`` holds the result from the first one on.

    Args:
        work: folder that the steps write to.
        seconds: for all of them together; what does not fit any more is skipped.
        about: what the result says besides: sizes, machine.
    """
    began, found = time.monotonic(), {**about, "steps": {}}
    work.mkdir(parents=True, exist_ok=True)
    gpu = has_gpu()
    for step in steps:
        left = seconds - (time.monotonic() - began)
        reason = _why_not(step, found["steps"], gpu, left, work)
        entry = {"skipped": reason} if reason else _measured(step, work, min(left, step.seconds))
        if step.may_fail and "code" in entry:
            entry["may_fail"] = True
        if step.stage is not None and "host_gib" in entry:
            entry |= planned(found["steps"], step.stage)
        found["steps"][step.name] = {"command": f"python -m {' '.join(step.arguments)}", **entry}
        write_json(out, found, indent=1)
        print(line_of(step.name, found["steps"][step.name]), flush=True)
    return found


def _why_not(step: Step, done: dict[str, Any], gpu: bool, left: float, work: Path) -> str | None:
    """Why a step is not run."""
    free = shutil.disk_usage(work).free
    missing = [name for name in step.needs if find_spec(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if step.gpu and not gpu:
        return "no NVIDIA GPU"
    if step.after is not None and done[step.after].get("code") != 0:
        return f"needs {step.after}"
    if step.disk > free:
        return f"needs {step.disk / 1e9:.1f} GB of disk; free: {free / 1e9:.1f} GB"
    return "the time is up" if left <= 0 else None


def has_gpu() -> bool:
    """Whether torch sees one; asked in a process of its own, so that this one takes none of its memory."""
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
        ender = _Ender(child.pid, seconds, step.kill_at)
        ender.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)  # of the child and what it has waited for
        finally:
            ender.over.set()
    child.returncode = os.waitstatus_to_exitcode(status)  # else it would be waited for once more
    spent = time.monotonic() - began
    entry = {
        "code": child.returncode,
        "seconds": round(spent, 1),
        "host_gib": round(usage.ru_maxrss * 1024 / 2**30, 2),
        "written_gb": round((_bytes_below(work) - before) / 1e9, 3),
        "said": log.read_text(encoding="utf-8", errors="replace").strip()[-_KEPT:],
    }
    if child.returncode == -signal.SIGKILL and (end := ender.why):
        entry |= {"ended": end} if end.startswith("after") else {"code": 0, "killed": end}
    if step.result is not None and step.result.is_file():
        entry["result"] = json.loads(step.result.read_text(encoding="utf-8"))
        entry["device_gib"] = entry["result"].get("peak_memory_gib")
    if step.clears is not None:
        shutil.rmtree(step.clears, ignore_errors=True)
    return entry


class _Ender(threading.Thread):
    """Kills a process and its children when their time is up, or when a path is there; ``why`` says which it was."""

    def __init__(self, pid: int, seconds: float, path: Path | None):
        super().__init__(daemon=True)
        self.pid, self.seconds, self.path, self.why = pid, seconds, path, ""
        self.over = threading.Event()

    def run(self) -> None:
        end = time.monotonic() + self.seconds
        while not self.over.wait(0.1):
            if time.monotonic() > end:
                self.why = f"after its {self.seconds:.0f} s"
            elif self.path is not None and self.path.exists():
                self.why = f"killed when {self.path.name} was there"
            else:
                continue
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            return


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def planned(done: dict[str, Any], stage: str) -> dict[str, float]:
    """What ``plan`` said that a stage takes, and the interpreter with its libraries, which it does not count."""
    plan, load = (done.get(name, {}).get("result") for name in ("plan", "load"))
    if not plan or not load:
        return {}
    rows = next(entry["strategies"] for entry in plan["stages"] if entry["stage"] == stage)
    wanted = (plan["strategy"], plan["gradient_checkpointing"])
    total = next(row["total"] for row in rows if (row["strategy"], row["checkpointing"]) == wanted)
    return {"plan_gib": round(total / 2**30 + load["start_gib"], 2)}


def line_of(name: str, entry: dict[str, Any]) -> str:
    """A row of the table in Markdown: step, seconds, host and device memory, bytes written, what came of it."""
    if "skipped" in entry:
        return f"| {name} | | | | | skipped: {entry['skipped']} |"
    device = entry.get("device_gib")
    cells = [name, entry["seconds"], entry["host_gib"], "" if device is None else device, entry["written_gb"]]
    return "| " + " | ".join(map(str, [*cells, ", ".join(_outcome(entry))])) + " |"


def _outcome(entry: dict[str, Any]) -> Iterator[str]:
    """What came of a step, and its figures."""
    failed = "found problems" if entry.get("may_fail") else f"failed with code {entry['code']}"
    yield entry.get("ended") or entry.get("killed") or ("done" if entry["code"] == 0 else failed)
    if isinstance(entry.get("result"), dict):
        yield from _figures(entry["result"])
    if plan := entry.get("plan_gib"):
        yield f"plan: {plan} GiB ({entry['host_gib'] / plan - 1:+.1%})"


def _figures(result: dict[str, Any]) -> Iterator[str]:
    """What a step's own result says, in words."""
    if ratio := result.get("ratio_samples_per_second"):
        ours, plain = result["shared"], result.get("separate") or result["baseline"]
        rates = f"{ours['samples_per_second']} samples/s, a row for every question {plain['samples_per_second']}"
        yield f"{rates}: {ratio['median']} x"
        if "tokens_per_second" in ours:
            yield f"{ours['tokens_per_second']} tokens/s"
        if ours.get("mfu"):
            yield f"MFU {ours['mfu']:.1%} and {plain['mfu']:.1%}"
    if "load_over_weights" in result:
        yield f"{result['load_over_weights']} x its {result['weights_gib']} GiB of weights above the start"
    if memory := result.get("memory"):
        measured, plan = memory["measured_gib"], memory["planned_gib"]
        yield f"{measured} GiB of the device in a step, plan: {plan} ({measured / plan - 1:+.1%})"
    for part, times in result.get("milliseconds", {}).items():
        yield f"{part.replace('_', ' ')}: " + ", ".join(f"{form} {spent} ms" for form, spent in times.items())
    for unit in ("images", "answers"):
        for form, rate in result.get(f"{unit}_per_second", {}).items():
            yield f"{rate} {unit}/s {form}"
    if "largest_difference" in result:
        yield f"losses of bf16 and fp16 differ by {result['largest_difference']:.4f} at most"
