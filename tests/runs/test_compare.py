"""Runs beside each other."""

from __future__ import annotations

import pytest

from skyeye import cli
from skyeye.errors import SkyEyeError
from skyeye.runs.compare import compare_page, run_names, tables
from skyeye.runs.read import read_run


def lines(*losses, stage="pretrain", rate=10.0) -> list[dict]:
    return [
        {"stage": stage, "step": n, "loss": loss, "samples_per_second": rate * n, "memory_peak_gib": rate}
        for n, loss in enumerate(losses, 1)
    ]


@pytest.fixture
def runs(make_run, one_score):
    settings = {"run": {"precision": "bf16", "workers": 2}}
    a = make_run("A", lines=lines(3.0, 1.25, 1.5), recipe=settings, scores=one_score)
    other = {"run": {"precision": "fp32", "workers": 2}, "extra": 1}
    b = make_run("B", lines=[*lines(2.0, None, rate=20.0), *lines(0.5, stage="tune")], recipe=other)
    return a, b


def test_what_differs_and_nothing_else(runs):
    settings, losses, rates, scores = tables([read_run(folder) for folder in runs])
    assert settings.rows == [["run.precision", '"bf16"', '"fp32"'], ["extra", "–", "1"]]
    assert losses.rows == [
        ["pretrain: last", "1.5000", "2.0000"],
        ["pretrain: lowest", "1.2500", "2.0000"],
        ["pretrain: steps", "3", "2"],
        ["tune: last", "–", "0.5000"],
        ["tune: lowest", "–", "0.5000"],
        ["tune: steps", "–", "1"],
    ]
    assert rates.rows == [
        ["pretrain: Samples, per second", "20", "40"],
        ["pretrain: memory peak, GiB", "10", "20"],
        ["tune: Samples, per second", "–", "10"],
        ["tune: memory peak, GiB", "–", "10"],
    ]
    assert scores.rows == [["pretrain/eval: synth.vqa accuracy", "61.5", "–"]]


def test_the_command_prints_and_writes(runs, tmp_path, capsys):
    out = tmp_path / "pages" / "both.html"
    assert cli.main(["runs", "compare", *map(str, runs), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert [line.split() for line in told.splitlines()][:4] == [
        ["Settings", "that", "differ"], ["A", "B"], ["run.precision", '"bf16"', '"fp32"'], ["extra", "–", "1"]
    ]  # fmt: skip
    html = out.read_text(encoding="utf-8")
    # the loss of both in one field: B is drawn over three steps of its two stages, with a gap
    assert html.count("Loss over the steps") == 1 and 'class="line k1">B<' in html
    assert cli.main(["runs", "compare", str(runs[0]), str(tmp_path)]) == 2


def test_one_run_is_not_compared(runs):
    with pytest.raises(SkyEyeError, match="two or more"):
        tables([read_run(runs[0])])


def test_runs_of_one_name_go_by_their_paths(make_run, tmp_path):
    a = make_run("A")
    (tmp_path / "x").mkdir()
    b = a.rename(tmp_path / "x" / "A")
    both = [read_run(make_run("A")), read_run(b)]
    assert run_names(both) == [str(tmp_path / "A"), str(tmp_path / "x" / "A")]


def test_hostile_names_are_text(make_run):
    name = "<img src=x onerror=alert(1)>"
    html = compare_page([read_run(make_run(name)), read_run(make_run("B", recipe={name: name}))])
    assert "<img" not in html and "&lt;img" in html
