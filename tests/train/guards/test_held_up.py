"""How long a process could not go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from skyeye.train.guards import held_up as module
from skyeye.train.guards.held_up import HeldUp

STOPPED = f"""
import runpy
held_up = runpy.run_path({module.__file__!r})["HeldUp"]()
print("ready", flush=True)
input()
print(held_up.seconds(0.5))
"""


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A clock, and files of threads as Linux has them."""
    made = SimpleNamespace(now=100.0, threads=tmp_path)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: made.now))
    monkeypatch.setattr(module, "_THREADS", tmp_path)

    def waits(thread: str, seconds: float) -> None:
        (tmp_path / thread).mkdir(exist_ok=True)
        (tmp_path / thread / "schedstat").write_text(f"123 {round(seconds * 1e9)} 45\n")

    made.waits = waits
    return made


def test_a_look_that_comes_in_time_loses_nothing(machine):
    held_up = HeldUp()
    machine.now += 10
    assert held_up.seconds(10) == 0


def test_a_look_that_comes_late_was_stopped_or_suspended(machine):
    held_up = HeldUp()
    machine.now += 3610
    assert held_up.seconds(10) == 3600
    machine.now += 10
    assert held_up.seconds(10) == 0


def test_the_thread_that_waited_longest_for_a_processor_counts_and_what_it_waited_before_does_not(machine):
    machine.waits("1", 500)
    machine.waits("2", 0)
    held_up = HeldUp()
    machine.now += 10
    machine.waits("1", 507)
    machine.waits("2", 2)
    machine.waits("3", 900)  # new: when it waited is not known
    assert held_up.seconds(10) == 7


def test_a_kernel_that_counts_nothing_is_no_hindrance(machine):
    (machine.threads / "1").mkdir()
    (machine.threads / "1" / "schedstat").write_text("")
    held_up = HeldUp()
    machine.now += 12
    assert held_up.seconds(10) == 2


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP here")
def test_a_stopped_process_says_so():
    process = subprocess.Popen([sys.executable, "-c", STOPPED], stdin=-1, stdout=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    os.kill(process.pid, signal.SIGCONT)
    said, _ = process.communicate("\n")
    assert float(said) >= 0.9
