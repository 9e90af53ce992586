"""Minutes of a run on this machine, from a few of its steps."""

from __future__ import annotations

import json

import pytest

from skyeye import cli
from skyeye.config.load import load_recipe
from skyeye.plan import here
from skyeye.plan.here import MEASURED, format_time, time_here


def test_steps_are_measured_by_training_them_and_nothing_is_left_behind(recipe, tmp_path, capsys):
    path, told = recipe(), tmp_path / "time.json"
    overrides = ["run.samples_every=1", "stages.0.steps=1000", "stages.1.optimizer.warmup_steps=1"]
    assert cli.main(["plan", str(path), *overrides, "--here", "--json", str(told)]) == 0
    found = json.loads(told.read_text())
    assert [stage["steps"] for stage in found["stages"]] == [1000, load_recipe(path).stages[1].steps]
    spent = sum(stage["steps"] * stage["step_seconds"] for stage in found["stages"])
    assert found["minutes"] == pytest.approx((found["start"] + spent) / 60) and spent > 0
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out.splitlines()[-2].startswith("training will take about")


def test_the_time_is_that_of_all_steps_and_the_first_one_does_not_count(recipe, monkeypatch):
    """1000 steps of 0.3 s and 10 of 0.3 s are 5.05 minutes; what is no step took nothing."""
    lines = [{"stage": s, "step_seconds": t} for s in ("pretrain", "single_task") for t in (9.0, 0.2, 0.3, 0.3, 0.5)]
    assert len(lines) == 2 * MEASURED
    trained = []
    monkeypatch.setattr(here, "train", lambda path: trained.append(load_recipe(path)))
    monkeypatch.setattr(here, "read_log", lambda path: lines)
    scored = ["eval.every=500", "eval.benchmarks=[synth.vqa]", "eval.choose=synth.vqa/accuracy", "eval.data_root=world"]
    found = time_here(load_recipe(recipe(), ["stages.0.steps=1000", "stages.1.steps=10", *scored]))
    assert trained[0].eval.every is None, "benchmarks would be answered in full behind the last of the few steps"
    assert found["start"] == 0 and found["minutes"] == pytest.approx(5.05)
    assert format_time(found).splitlines()[0] == "  pretrain: 1,000 steps of 0.30 s"
    assert "about 5 min here" in format_time(found)
