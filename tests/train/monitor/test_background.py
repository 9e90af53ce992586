"""What process 0 does beside training costs the others nothing, and fails in words."""

from __future__ import annotations

import threading

from skyeye.train.monitor.background import BackgroundTracker, Chores


def test_a_server_that_does_not_answer_delays_nobody_and_nothing_is_lost():
    answered, told = threading.Event(), []

    class Tracker:
        def numbers(self, *values):
            told.append(values)

        def finish(self):
            told.append("finished")

    def start():
        answered.wait(60)  # who waits for it finds the numbers told
        return Tracker()

    chores = Chores()
    tracker = BackgroundTracker(chores, start)
    tracker.numbers("s", 1, {"loss": 2.0})
    tracker.numbers("s", 2, {"loss": 1.0})
    tracker.finish()
    assert told == []
    answered.set()
    chores.finish()
    assert told == [("s", 1, {"loss": 2.0}), ("s", 2, {"loss": 1.0}), "finished"]


def test_what_fails_is_told_and_the_next_chore_is_done(capsys):
    done, chores = [], Chores()
    chores.add("dividing", lambda: 1 / 0)
    chores.add("counting", done.append, 1)
    chores.finish()
    assert done == [1]
    assert "dividing failed, the run goes on without: ZeroDivisionError" in capsys.readouterr().out


def test_a_tracker_that_cannot_start_is_told_once(capsys):
    def start():
        raise OSError("no route to the server")

    chores = Chores()
    tracker = BackgroundTracker(chores, start)
    tracker.numbers("s", 1, {})
    tracker.samples("s", 1, [])
    chores.finish()
    assert capsys.readouterr().out.count("failed") == 1


def test_the_end_of_a_run_does_not_wait_for_ever(capsys):
    stuck, chores = threading.Event(), Chores()
    chores.add("uploading", stuck.wait, 30)
    chores.finish(seconds=0.2)
    assert "not done after 0.2 s and given up: uploading" in capsys.readouterr().out
    stuck.set()
