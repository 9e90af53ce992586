"""What counts as a hang: also the end of a stage, and not answers that take their time."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from processes import run, said

from skyeye.train.guards import watchdog as module
from skyeye.train.guards.watchdog import HUNG, Watchdog

#: Where a process would end, a thread of a test does.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

#: A step of a busy machine is no hang; :mod:`injected` puts the clock forward where one is to be taken for one.
LIMIT = ["run.guards.hang_seconds=120", "run.guards.hang_abort=true", "stages.0.steps=2", "stages.1.steps=2"]


class _Clock:
    """Stands for the module ``time``: the clock moves when a test says so."""

    def __init__(self):
        self.now, self.looks = 0.0, 0

    def monotonic(self) -> float:
        self.looks += threading.current_thread().name == "watchdog"
        return self.now

    def __getattr__(self, name: str):
        return getattr(time, name)

    def goes_on(self, seconds: float) -> None:
        """So much time passes, and the watchdog looks at the clock."""
        self.now += seconds
        seen = self.looks
        _until(lambda: self.looks >= seen + 2)  # the first look may have begun before


def _until(true) -> None:
    late = time.monotonic() + 60
    while not true():
        assert time.monotonic() < late
        time.sleep(0.001)


@pytest.fixture
def clock(monkeypatch) -> _Clock:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(module, "time", _Clock())
    return module.time


@pytest.fixture
def ended(monkeypatch) -> threading.Event:
    """Set where the process would be ended."""
    event = threading.Event()
    monkeypatch.setattr(module.os, "_exit", lambda code: event.set() if code == HUNG else None)
    return event


@pytest.fixture
def ends(monkeypatch, tmp_path) -> list[dict[str, str]]:
    """The stacks on disk at every moment at which a process would be ended; its watchdog ends there."""
    found = []

    def end(code: int) -> None:
        assert code == HUNG
        found.append(_stacks(tmp_path))
        raise SystemExit

    monkeypatch.setattr(module.os, "_exit", end)
    return found


def _stacks(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((folder / "stacks").glob("*.txt"))}


def test_a_process_that_was_stopped_or_had_no_processor_is_not_taken_for_one_that_hangs(tmp_path, clock, monkeypatch):
    lost = [0.0]
    monkeypatch.setattr(module, "HeldUp", lambda: SimpleNamespace(seconds=lambda _: lost.pop() if lost else 0.0))
    with Watchdog(tmp_path, rank=0, world=1, seconds=20):
        lost.append(3600.0)
        clock.now += 3600
        _until(lambda: not lost)
        clock.goes_on(19)
        assert not (tmp_path / "stacks").exists()
        clock.goes_on(2)
    assert "no step for 21 s" in _stacks(tmp_path)["rank-0.txt"]


def test_where_steps_take_long_a_longer_one_is_no_hang(tmp_path, clock):
    with Watchdog(tmp_path, rank=0, world=1, seconds=20) as watchdog:
        clock.goes_on(15)
        watchdog.beat()
        clock.goes_on(44)  # three times the longest is 45
        assert not (tmp_path / "stacks").exists()
        clock.goes_on(2)
        assert "no step for 46 s" in _stacks(tmp_path)["rank-0.txt"]
        watchdog.beat()  # a hang is no measure for the next
        clock.goes_on(46)
    assert _stacks(tmp_path)["rank-0.txt"].count("no step for") == 2


def test_while_it_rests_nothing_is_expected_and_after_it_again(tmp_path, clock):
    with Watchdog(tmp_path, rank=0, world=1, seconds=20) as watchdog:
        watchdog.rest()
        clock.goes_on(60)
        assert not (tmp_path / "stacks").exists()
        watchdog.beat()
        clock.goes_on(19)
        assert not (tmp_path / "stacks").exists()
        clock.goes_on(2)
        clock.goes_on(60)
    assert (tmp_path / "stacks" / "rank-0.txt").read_text().count("no step for") == 1


def test_the_watchdog_writes_down_what_every_thread_does(tmp_path, clock, capfd):
    with Watchdog(tmp_path, rank=3, world=4, seconds=20):
        clock.goes_on(21)
        clock.goes_on(21)
    stacks = (tmp_path / "stacks" / "rank-3.txt").read_text()
    assert "test_the_watchdog_writes_down_what_every_thread_does" in stacks and stacks.count("no step for") == 1
    assert "rank 3: no step finished" in capfd.readouterr().out


def test_the_watchdog_keeps_quiet_while_steps_are_finished(tmp_path, clock):
    with Watchdog(tmp_path, rank=0, world=1, seconds=20) as watchdog:
        for _ in range(12):
            clock.goes_on(5)
            watchdog.beat()
    assert not (tmp_path / "stacks").exists()


def test_after_the_next_step_it_watches_again_and_nothing_written_is_lost(tmp_path, clock, monkeypatch):
    """While stacks are written, what is there under their name is whole."""
    seen, real = [], module.faulthandler.dump_traceback
    monkeypatch.setattr(
        module.faulthandler,
        "dump_traceback",
        lambda *args, **named: (seen.append(_stacks(tmp_path)), real(*args, **named)),
    )
    with Watchdog(tmp_path, rank=0, world=2, seconds=20) as watchdog:
        clock.goes_on(21)
        first = _stacks(tmp_path)
        watchdog.beat()
        clock.goes_on(22)
    assert seen == [{}, first]
    text = _stacks(tmp_path)["rank-0.txt"]
    assert text.startswith(first["rank-0.txt"]) and "no step for 21 s" in text and "no step for 22 s" in text


def test_before_a_process_ends_every_other_one_writes_its_stacks_also_while_it_rests(tmp_path, clock, ends):
    with (
        Watchdog(tmp_path, 0, 3, seconds=20, abort=True),
        Watchdog(tmp_path, 1, 3, seconds=1000, abort=True) as resting,
        Watchdog(tmp_path, 2, 3, seconds=1000, abort=True),
    ):
        resting.rest()
        clock.now += 21
        _until(lambda: len(ends) == 3)
    assert [sorted(found) for found in ends] == [["rank-0.txt", "rank-1.txt", "rank-2.txt"]] * 3
    assert "no step for 21 s" in ends[0]["rank-0.txt"] and "came first" in ends[0]["rank-1.txt"]
    assert all("test_before_a_process_ends" in text for text in ends[0].values())


def test_without_abort_each_process_tells_of_itself_alone(tmp_path, clock, ends):
    with Watchdog(tmp_path, 0, 2, seconds=20), Watchdog(tmp_path, 1, 2, seconds=1000):
        clock.goes_on(21)
        clock.goes_on(1)
    assert list(_stacks(tmp_path)) == ["rank-0.txt"] and not ends


def test_a_process_that_never_writes_is_waited_for_no_longer_than_the_grace(tmp_path, clock, ends):
    """Stacks of an earlier run in this folder are not its own."""
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "rank-1.txt").write_text("of an earlier run")
    with Watchdog(tmp_path, 0, 2, seconds=20, abort=True):
        clock.goes_on(21)
        clock.goes_on(module.GRACE - 1)
        assert not ends and "rank-0.txt" in _stacks(tmp_path)
        clock.now += 2
        _until(lambda: ends)


def test_stacks_that_take_the_place_of_those_of_an_earlier_run_count(tmp_path, clock, ends):
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "rank-1.txt").write_text("of an earlier run")
    with Watchdog(tmp_path, 0, 2, seconds=20, abort=True):
        clock.goes_on(21)
        assert not ends
        (tmp_path / "stacks" / "rank-1.txt").write_text("of an earlier run, and of this one")
        _until(lambda: ends)


def test_a_process_that_fails_because_another_one_ended_leaves_its_stacks_and_its_error(tmp_path, clock, ends):
    """Its thread would have looked only later."""
    module.LOOK_EVERY = 1000.0
    with pytest.raises(RuntimeError), Watchdog(tmp_path, 1, 2, seconds=9000, abort=True):
        (tmp_path / "stacks").mkdir()
        (tmp_path / "stacks" / "rank-0.txt").write_text("no step for 1800 s")
        raise RuntimeError("connection closed by peer")
    (found,) = ends
    assert "connection closed by peer" in found["rank-1.txt"] and "rank-0.txt came first" in found["rank-1.txt"]


def test_a_process_that_fails_while_it_waits_for_the_stacks_of_others_is_held_until_they_are_there(
    tmp_path, clock, ends
):
    with pytest.raises(RuntimeError), Watchdog(tmp_path, 0, 2, seconds=20, abort=True):
        clock.goes_on(21)
        late = threading.Timer(0.2, (tmp_path / "stacks" / "rank-1.txt").write_text, ["written last"])
        late.start()
        raise RuntimeError("connection closed by peer")
    assert list(ends[0]) == ["rank-0.txt", "rank-1.txt"] and len(ends) == 1


@pytest.mark.parametrize("abort", [False, True])
def test_an_error_that_is_no_hang_leaves_no_stacks(tmp_path, clock, ends, abort):
    with pytest.raises(RuntimeError), Watchdog(tmp_path, 0, 2, seconds=20, abort=abort):
        raise RuntimeError("out of memory")
    assert not (tmp_path / "stacks").exists() and not ends


def test_stacks_that_cannot_be_written_go_to_the_terminal_and_the_process_ends_all_the_same(tmp_path, ended, capfd):
    (tmp_path / "stacks").write_text("no folder")
    with Watchdog(tmp_path, rank=2, world=1, seconds=0.2, abort=True):
        assert ended.wait(60)
    told = capfd.readouterr()
    assert "cannot be written" in told.out and "rank 2: no step finished" in told.out
    assert "test_stacks_that_cannot_be_written" in told.err


def test_without_a_terminal_the_process_ends_all_the_same(tmp_path, ended, monkeypatch):
    def closed(*_, **__):
        raise OSError("the terminal is gone")

    monkeypatch.setattr(module, "print", closed, raising=False)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with Watchdog(tmp_path, rank=0, world=1, seconds=0.2, abort=True):
        assert ended.wait(60)


@pytest.mark.parametrize("strategy", ["single", "ddp"])
def test_answers_may_take_longer_than_a_hang(recipe, tmp_path, strategy):
    processes = 1 if strategy == "single" else 2
    settings = [*LIMIT, f"run.strategy={strategy}", "run.samples_every=2", "run.samples=1"]
    path = recipe()
    assert run(path, *settings, processes=processes, inject="injected:slow_answers") == [0] * processes, said(path)
    assert not (tmp_path / "run" / "stacks").exists()


def test_benchmarks_may_take_longer_than_a_hang(recipe, world, tmp_path):
    settings = [*LIMIT, "run.strategy=ddp", f"eval.data_root={world}", "eval.benchmarks=[synth.vqa]", "eval.every=2"]
    settings += ["eval.every_limit=4", "eval.batch_size=4"]
    path = recipe()
    assert run(path, *settings, processes=2, inject="injected:slow_benchmarks") == [0, 0], said(path)
    assert not (tmp_path / "run" / "stacks").exists()


@pytest.mark.parametrize("place", ["state", "export"])
def test_a_hang_behind_the_last_step_leaves_the_stack_of_every_rank(recipe, tmp_path, place):
    inject = "injected:hang_in_the_last_state" if place == "state" else "injected:hang_in_the_export"
    path = recipe()
    codes = run(path, *LIMIT, "run.strategy=ddp", "run.checkpoint_every=9", processes=2, inject=inject)
    assert codes == [HUNG, HUNG], said(path)
    assert "injected.py" in (tmp_path / "run" / "stacks" / "rank-1.txt").read_text()
    assert "state.py" in (tmp_path / "run" / "stacks" / "rank-0.txt").read_text()
