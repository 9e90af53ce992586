"""Benchmarks in the middle of training: scores of the model as it is, the best one kept, and no trace in the run."""

from __future__ import annotations

import json
import signal

import pytest
import torch
import yaml
from processes import run, said
from safetensors.torch import load_file

from skyeye.cli import main
from skyeye.config.load import load_recipe
from skyeye.errors import SkyEyeError
from skyeye.eval.evaluate import evaluate
from skyeye.eval.settings import EvalSettings
from skyeye.models.difference import first_difference
from skyeye.train.guards.interrupt import REQUEUE

SCORED = ["eval.benchmarks=[synth.vqa,synth.scene]", "eval.every=3", "eval.every_limit=12", "eval.batch_size=4"]
CHOOSE = "eval.choose=synth.vqa/accuracy"
LORA = {"r": 2, "alpha": 4, "dropout": 0.3}  # draws random numbers in every step of the second stage
RUNS: dict[bool | str, object] = {}


@pytest.fixture
def runs(recipe, world, tmp_path_factory):
    """The folders of the same run without and with benchmarks after every third of four steps (made once)."""
    if True not in RUNS:
        for scored in (False, True):
            folder = tmp_path_factory.mktemp("scored") / "run"
            model = yaml.safe_load(recipe().read_text())["model"]
            path = recipe(output_dir=str(folder), model={**model, "lora": LORA})
            asked = [*SCORED, CHOOSE, f"eval.data_root={world}"] if scored else []
            assert main(["train", str(path), *asked]) == 0
            RUNS[scored] = folder
    return RUNS[False], RUNS[True]


def _lines(folder, stage: str) -> list[dict]:
    return [json.loads(line) for line in (folder / "eval" / f"{stage}.jsonl").read_text().splitlines()]


def test_training_does_not_notice(runs):
    logs = [[json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()] for folder in runs]
    assert logs[0] == logs[1] and len(logs[0]) == 8
    for stage in ("pretrain", "single_task"):
        one, two = (load_file(folder / "checkpoints" / stage / "model.safetensors") for folder in runs)
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_scores_are_those_of_the_exported_model(runs, world, tmp_path):
    for stage in ("pretrain", "single_task"):
        lines = _lines(runs[1], stage)
        assert [(line["stage"], line["step"]) for line in lines] == [(stage, 3), (stage, 4)]
        scores = evaluate(
            runs[1] / "checkpoints" / stage,
            ["synth.vqa", "synth.scene"],
            world,
            tmp_path / stage,
            EvalSettings(limit=12),
        )
        for name in ("synth.vqa/accuracy", "synth.scene/accuracy"):
            benchmark, metric = name.split("/")
            assert lines[-1]["scores"][name] == scores.benchmarks[benchmark].metrics[metric].value
        folder = runs[1] / "eval" / f"{stage}-0000004"
        files = [f"{benchmark}.jsonl" for benchmark in ("synth.vqa", "synth.scene")]
        for file in files:
            ours, theirs = (place / "predictions" / file for place in (folder, tmp_path / stage))
            assert ours.read_bytes() == theirs.read_bytes()
        assert (folder / "report.html").is_file()


def test_the_first_best_model_is_kept(runs):
    """Of equal scores the earlier: a later one is no improvement."""
    for stage in ("pretrain", "single_task"):
        lines = _lines(runs[1], stage)
        values = [line["scores"]["synth.vqa/accuracy"] for line in lines]
        best = 3 if values[0] >= values[1] else 4
        manifest = json.loads((runs[1] / "checkpoints" / f"{stage}-best" / "manifest.json").read_text())
        assert (manifest["stage"], manifest["step"]) == (stage, best)
        assert [line["best"] for line in lines] == [True, values[1] > values[0]]


class Scripted:
    """Gives the scores of a list, one after the other."""

    def __init__(self, values, better):
        self.values, self.better = iter(values), better

    def __call__(self, model, processor, out_dir, about):
        assert not model.training
        return {"b/m": next(self.values)}


@pytest.mark.parametrize(
    ("better", "values", "exported"),
    [
        (lambda a, b: a > b, [3.0, 5.0, 5.0, 4.0], 2),
        (lambda a, b: a < b, [3.0, 5.0, 2.0, 4.0], 3),
    ],
)
def test_the_best_by_the_metric_that_was_chosen(recipe, tmp_path, better, values, exported):
    from skyeye.train.run import train

    path = recipe(output_dir=str(tmp_path / "run"))
    only = ["eval.benchmarks=[x]", "eval.data_root=.", "eval.every=1", "eval.choose=b/m"]
    train(path, only, evaluator=Scripted(values * 2, better))
    manifest = json.loads((tmp_path / "run" / "checkpoints" / "pretrain-best" / "manifest.json").read_text())
    assert manifest["step"] == exported
    chosen = json.loads((tmp_path / "run" / "eval" / "pretrain-best.json").read_text())
    assert chosen == {"step": exported, "b/m": values[exported - 1]}


def _shown(world) -> list[str]:
    """Benchmarks and samples after every step that has a state: a run may be stopped between the one and the other."""
    shown = ["eval.benchmarks=[synth.vqa]", "eval.every=2", "eval.every_limit=8", "eval.batch_size=4"]
    return [*shown, CHOOSE, f"eval.data_root={world}", "run.samples_every=2", "run.samples=2", "stages.1.steps=2"]


@pytest.fixture
def unstopped(recipe, world, tmp_path_factory):
    """The folder of such a run that nobody stopped, with steps whose answers get better (made once)."""
    if "whole" not in RUNS:
        folder = tmp_path_factory.mktemp("unstopped") / "run"
        path = recipe(output_dir=str(folder))
        assert run(path, *_shown(world), "stages.0.steps=6", inject="injected:scores_that_rise") == [0], said(path)
        RUNS["whole"] = folder
    return RUNS["whole"]


def _same_sight(one, other) -> None:
    """Exports, the best ones among them, states, scores and samples."""
    assert first_difference(one, other) is None
    for stage, steps in (("pretrain", [2, 4, 6]), ("single_task", [2])):
        assert [(line["step"], line["best"]) for line in _lines(one, stage)] == [(step, True) for step in steps]
        assert _lines(one, stage) == _lines(other, stage)
        for name in (f"eval/{stage}-best.json", f"checkpoints/{stage}-best/manifest.json"):
            assert json.loads((one / name).read_text()) == json.loads((other / name).read_text())
        samples = [sorted((folder / "samples").glob(f"{stage}-*.json")) for folder in (one, other)]
        assert [int(path.stem[-7:]) for path in samples[0]] == steps
        assert [path.read_text() for path in samples[0]] == [path.read_text() for path in samples[1]]


@pytest.mark.parametrize(
    "moment",
    [
        "skyeye.train.monitor.evaluation:EvalHook.answer:1",
        "skyeye.train.monitor.evaluation:EvalHook.answer:2",
        "skyeye.train.monitor.evaluation:EvalHook.answer:3",  # at the end of the stage
        "skyeye.train.monitor.samples:Samples.answer:1",
        "skyeye.train.checkpoint.export:export:1",  # of the best one
        "skyeye.train.checkpoint.export:export:2",
        "skyeye.train.checkpoint.state:_replace:3+",  # the best one has its new name, the old one not gone yet
        "skyeye.train.monitor.evaluation:write_whole:1",  # exported, not listed
    ],
)
def test_what_a_kill_left_unlooked_at_is_made_up(recipe, world, tmp_path, unstopped, moment):
    path, folder = recipe(output_dir=str(tmp_path / "run")), tmp_path / "run"
    asked = [*_shown(world), "stages.0.steps=6"]
    assert run(path, *asked, inject="injected:scores_that_rise", die=moment) == [-signal.SIGKILL], said(path)
    assert run(path, *asked, inject="injected:scores_that_rise", resume=True) == [0], said(path)
    _same_sight(folder, unstopped)
    assert not list((folder / "checkpoints").glob(".*"))


def test_the_best_is_exported_though_a_kill_came_in_its_export_and_none_is_better_later(recipe, world, tmp_path):
    path, folder = recipe(output_dir=str(tmp_path / "run")), tmp_path / "run"
    asked = [*_shown(world), "stages.0.steps=4"]
    inject = "injected:scores_that_fall"
    assert run(path, *asked, inject=inject, die="skyeye.train.checkpoint.export:export:1") == [-signal.SIGKILL], said(
        path
    )
    assert run(path, *asked, inject=inject, resume=True) == [0], said(path)
    assert [(line["step"], line["best"]) for line in _lines(folder, "pretrain")] == [(2, True), (4, False)]
    assert json.loads((folder / "checkpoints" / "pretrain-best" / "manifest.json").read_text())["step"] == 2


@pytest.mark.parametrize("strategy", ["single", "ddp"])
def test_what_a_signal_left_unlooked_at_is_made_up(recipe, world, tmp_path, unstopped, strategy):
    path, folder = recipe(output_dir=str(tmp_path / "run")), tmp_path / "run"
    processes = 1 if strategy == "single" else 2
    asked = [*_shown(world), "stages.0.steps=6", f"run.strategy={strategy}"]
    codes = run(path, *asked, inject="injected:sigterm_in_a_step_with_benchmarks", processes=processes)
    assert codes == [REQUEUE] * processes, said(path)
    assert (folder / "states" / "pretrain-0000004").exists() and not (folder / "eval" / "pretrain-0000004").exists()
    assert run(path, *asked, inject="injected:scores_that_rise", processes=processes, resume=True) == [0] * processes
    assert [line["step"] for line in _lines(folder, "pretrain")] == [2, 4, 6]
    assert [int(path.stem[-7:]) for path in sorted((folder / "samples").glob("pretrain-*.json"))] == [2, 4, 6]
    if strategy == "single":
        _same_sight(folder, unstopped)


def test_what_was_looked_at_is_not_looked_at_again(recipe, world, tmp_path):
    path, folder = recipe(output_dir=str(tmp_path / "run")), tmp_path / "run"
    asked = [*_shown(world), "stages.0.steps=4"]
    assert run(path, *asked, die="accelerate:Accelerator.backward:3") == [-signal.SIGKILL]  # with the state of step 2
    seen = [folder / "eval" / "pretrain-0000002" / "report.html", folder / "samples" / "pretrain-0000002.json"]
    before = [path.stat().st_mtime_ns for path in seen]
    assert run(path, *asked, resume=True) == [0], said(path)
    assert [path.stat().st_mtime_ns for path in seen] == before


@pytest.mark.parametrize("strategy", ["ddp", "zero2"])
def test_two_processes_answer_together(recipe, world, tmp_path, runs, strategy):
    path = recipe(output_dir=str(tmp_path / "run"))
    inject = "injected:share_out_every_parameter"
    overrides = [*SCORED, CHOOSE, f"eval.data_root={world}", f"run.strategy={strategy}"]
    codes = run(path, *overrides, processes=2, inject=inject)
    assert codes == [0, 0], said(path)[-3000:]
    for stage in ("pretrain", "single_task"):
        answers = tmp_path / "run" / "eval" / f"{stage}-0000003" / "answers"
        files = sorted(file.name for file in answers.glob("*.jsonl"))
        assert files == ["rank0-of-2.jsonl", "rank1-of-2.jsonl"]
        alone, many = (_lines(folder, stage) for folder in (runs[1], tmp_path / "run"))
        assert [line["step"] for line in many] == [3, 4]
        assert many[0]["scores"].keys() == alone[0]["scores"].keys()
        assert (tmp_path / "run" / "checkpoints" / f"{stage}-best" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["eval.every=3"], "needs benchmarks and data_root"),
        ([*SCORED, "eval.data_root=.", "run.strategy=zero3"], "under zero3"),
        (["eval.choose=a/b"], "needs every"),
        ([*SCORED, "eval.data_root=.", "eval.choose=accuracy"], "is not benchmark/metric"),
    ],
)
def test_settings_that_do_not_fit_are_refused(recipe, overrides, words):
    with pytest.raises(SkyEyeError, match=words):
        load_recipe(recipe(), overrides)


@pytest.mark.parametrize(
    ("choose", "words"), [("synth.refer/accuracy", "not among the benchmarks"), ("synth.vqa/CIDEr", "has no CIDEr")]
)
def test_a_score_that_there_is_not_cannot_be_chosen_by(recipe, world, capsys, choose, words):
    overrides = [*SCORED, f"eval.data_root={world}", f"eval.choose={choose}"]
    assert main(["train", str(recipe()), *overrides]) == 2
    assert words in capsys.readouterr().err
