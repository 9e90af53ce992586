"""Signals that ask a run to stop."""

from __future__ import annotations

import errno
import os
import signal
import sys

import pytest

from skyeye.train.guards.interrupt import Interrupt


@pytest.fixture(autouse=True)
def heard():
    """The tests themselves may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", Interrupt.SIGNALS)
def test_each_signal_asks_the_run_to_stop(number):
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.asked and interrupt.requeue == (number != signal.SIGINT)
    assert signal.getsignal(number) == before


def test_a_terminal_that_has_gone_does_not_end_the_run_that_saves(monkeypatch):
    class Gone:
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "the terminal has gone")

        def flush(self) -> None:
            self.write("")

    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(sys, "stderr", Gone())
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        print("a line of the log", flush=True)
    assert interrupt.asked


def test_a_hangup_that_is_ignored_goes_on_being_ignored():
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
    assert not interrupt.asked and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
