"""What happens besides the steps: in which order, and who may end a stage."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate import Accelerator

from skyeye.config.schema import RunConfig
from skyeye.train import hooks as module
from skyeye.train.checkpoint.ema import MovingAverage
from skyeye.train.guards.interrupt import Interrupt
from skyeye.train.guards.watchdog import Watchdog
from skyeye.train.hooks import AnsweringHook, AverageHook, ExportHook, Hook, Hooks, InterruptHook, StateHook
from skyeye.train.monitor.samples import SamplesHook
from skyeye.train.run import train


class Told(Hook):
    """Writes down what it is called with."""

    def __init__(self, name: str, calls: list, ends: int | None = None):
        self.name, self.calls, self.ends = name, calls, ends

    def before_stage(self, step: int) -> None:
        self.calls.append((self.name, "before", step))

    def after_step(self, step: int) -> bool:
        self.calls.append((self.name, "step", step))
        return step == self.ends

    def after_stage(self, step: int) -> None:
        self.calls.append((self.name, "after", step))


class Beats:
    def __init__(self, calls: list):
        self.calls = calls

    def beat(self) -> None:
        self.calls.append("beat")

    def rest(self) -> None:
        self.calls.append("rest")


def test_hooks_are_called_in_their_order_and_the_watchdog_hears_of_each():
    calls = []
    hooks = Hooks(Beats(calls), [Told("a", calls), Told("b", calls)])
    hooks.before_stage(3)
    assert calls == [("a", "before", 3), "beat", ("b", "before", 3), "beat"]
    calls.clear()
    assert not hooks.after_step(4)
    assert calls == ["beat", ("a", "step", 4), "beat", ("b", "step", 4), "beat"]
    calls.clear()
    hooks.after_stage(4)
    assert calls == [("a", "after", 4), "beat", ("b", "after", 4), "beat"]


def test_the_first_hook_that_ends_the_stage_is_the_last_that_is_called():
    calls = []
    hooks = Hooks(Beats([]), [Told("a", calls), Told("b", calls, ends=2), Told("c", calls)])
    assert [hooks.after_step(step) for step in (1, 2)] == [False, True]
    assert calls == [("a", "step", 1), ("b", "step", 1), ("c", "step", 1), ("a", "step", 2), ("b", "step", 2)]


def test_a_hook_that_says_nothing_does_nothing():
    hook = type("Idle", (Hook,), {})()
    assert hook.before_stage(0) is None and hook.after_step(1) is False and hook.after_stage(1) is None


def test_a_request_to_stop_ends_a_stage_but_not_behind_its_last_step():
    interrupt = Interrupt()
    hook = InterruptHook(Accelerator(cpu=True), interrupt, steps=4)
    assert not hook.after_step(2)
    interrupt.asked = True
    assert hook.after_step(3) and not hook.after_step(4)


class Answers(AnsweringHook):
    def __init__(self, calls: list, done: bool = False):
        super().__init__(Accelerator(cpu=True), Beats(calls), every=2, steps=5)
        self.calls, self.done = calls, done

    def is_done(self, step: int) -> bool:
        return self.done

    def answer(self, step: int) -> None:
        self.calls.append(step)


def test_answers_are_given_every_so_often_and_at_the_end_while_the_watchdog_rests():
    calls = []
    hook = Answers(calls)
    assert not any(hook.after_step(step) for step in range(1, 6))
    assert calls == ["rest", 2, "rest", 4, "rest", 5]


@pytest.mark.parametrize(("step", "done", "asked"), [(0, False, []), (2, False, [2]), (2, True, []), (3, False, [])])
def test_answers_that_are_owed_are_made_up_before_the_first_step(step, done, asked):
    calls = []
    Answers(calls, done).before_stage(step)
    assert calls == ["rest", *asked]


def test_a_state_is_saved_every_so_often_but_not_in_trouble_and_at_the_end_of_a_stage_that_was_computed(monkeypatch):
    saved, guard = [], SimpleNamespace(streak=[], usual_loss=lambda: 1.0, state=dict)
    monkeypatch.setattr(module, "save_state", lambda prepared, folder, manifest, run: saved.append(manifest["step"]))

    def hook(start: int) -> StateHook:
        one = StateHook(None, guard, Path("x"), {"steps": 6}, RunConfig(checkpoint_every=2))
        one.before_stage(start)
        return one

    one = hook(0)
    for step in range(1, 7):
        guard.streak = [step] if step == 4 else []
        assert not one.after_step(step)
    assert saved == [2]  # the last one comes when the stage is left
    one.after_stage(6)
    hook(3).after_stage(4)  # ended early
    assert saved == [2, 6, 4]
    hook(6).after_stage(6)  # nothing was computed: its state is there
    assert saved == [2, 6, 4]


def test_an_average_takes_in_steps_that_moved_the_weights():
    taken = []
    guard = SimpleNamespace(moved=True)
    average = SimpleNamespace(update=lambda: taken.append(guard.moved))
    hook = AverageHook(SimpleNamespace(average=average), guard)
    assert not hook.after_step(1)
    guard.moved = False
    hook.after_step(2)
    assert taken == [True]
    AverageHook(SimpleNamespace(average=None), guard).after_step(1)


def test_a_stage_that_was_ended_early_exports_nothing():
    exported = []
    hook = ExportHook(lambda name, step: exported.append((name, step)), "one", 4)
    hook.after_stage(3)
    assert exported == []
    hook.after_stage(4)
    assert exported == [("one", 4)]


def test_the_other_processes_wait_for_samples_and_answer_none(tmp_path):
    hook = SamplesHook(None, None, Accelerator(cpu=True), Watchdog(tmp_path, 1, 2, None), every=1, steps=2)
    assert not hook.after_step(1) and hook.is_done(1)


def test_a_run_saves_before_it_answers_and_exports_the_average_before_the_rest(recipe, tmp_path, monkeypatch):
    calls = []

    def told(owner, name, what):
        real = getattr(owner, name)

        def call(*args, **kwargs):
            calls.append(what(*args))
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    told(module, "save_state", lambda prepared, folder, manifest, run: ("state", manifest["step"]))
    told(SamplesHook, "answer", lambda hook, step: ("samples", step))
    told(MovingAverage, "update", lambda average: "average")
    told(module.Exporter, "__call__", lambda exporter, name, step: (name, step))
    path = recipe(stages=[{**_stage(), "steps": 2}])
    train(path, ["run.checkpoint_every=1", "run.samples_every=1", "run.samples=1"])
    expected = ["average", ("state", 1), ("samples", 1), "average", ("samples", 2), ("state", 2)]
    assert calls == [*expected, ("one-ema", 2), ("one", 2)]
    manifest = json.loads((tmp_path / "run" / "checkpoints" / "one" / "manifest.json").read_text())
    assert (manifest["stage"], manifest["step"], manifest["steps"]) == ("one", 2, 2)


def _stage() -> dict:
    optimizer = {"lr": 1e-3, "warmup_lr": 1e-3, "warmup_steps": 1, "ema_decay": 0.5}
    return {
        "name": "one",
        "mixture": [{"source": "world"}],
        "images_per_step": 2,
        "questions_per_image": 2,
        "optimizer": optimizer,
    }
