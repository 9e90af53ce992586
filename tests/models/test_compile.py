"""``run.compile``: the same losses, and words where there is no compiler."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch import nn

from skyeye.models import compile as compiling
from skyeye.train.run import train


def _losses(folder) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_without_a_compiler_the_run_goes_on_without_and_says_so(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    train(recipe(), ["run.compile=true", "stages.0.steps=2", "stages.1.steps=2"])
    assert capsys.readouterr().out.count("no C++ compiler (g++, clang++, c++); the layers are not compiled") == 2
    assert len(_losses(tmp_path / "run")) == 4


def test_on_cuda_the_compiler_is_triton(monkeypatch):
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    assert compiling.missing_compiler(torch.device("cuda")) == "the package triton is not installed"
    monkeypatch.setattr(compiling, "find_spec", lambda name: name)
    assert compiling.missing_compiler(torch.device("cuda")) is None


def test_a_run_through_the_compiler_s_front_has_the_losses_of_the_plain_one(recipe, tmp_path, monkeypatch):
    compiled = []
    real = nn.Module.compile

    def front(self, *arguments, **named):  # torch.compile without making code: seconds, not minutes
        compiled.append(self)
        real(self, *arguments, backend="eager", **named)

    settings = ["stages.0.steps=2", "stages.1.steps=2", "model.language.config.num_hidden_layers=1"]
    train(recipe(), [f"output_dir={tmp_path / 'plain'}", *settings])
    monkeypatch.setattr(nn.Module, "compile", front)
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: None)
    train(recipe(), [f"output_dir={tmp_path / 'compiled'}", "run.compile=true", *settings])
    assert len(compiled) == 2  # one layer, two stages
    assert _losses(tmp_path / "compiled") == pytest.approx(_losses(tmp_path / "plain"), abs=2e-5)


def test_answers_in_training_compile_nothing(recipe, tmp_path, monkeypatch):
    """Every length of a prompt would be a graph; after eight of them torch runs the packs of training without."""
    graphs, real = [], nn.Module.compile

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda self, **named: real(self, **named, backend=backend))
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: None)
    settings = ["run.compile=true", "stages.0.steps=3", "stages.1.steps=2", "model.language.config.num_hidden_layers=1"]
    counted = []
    for answers in ([], ["run.samples_every=1", "run.samples=4"]):
        torch._dynamo.reset()
        graphs.clear()
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
            train(recipe(), [f"output_dir={tmp_path / str(len(answers))}", *settings, *answers])
        counted.append(len(graphs))
    assert counted[0] == counted[1] > 0
    assert len(list((tmp_path / "2" / "samples").glob("pretrain-*.json"))) == 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_run_has_the_losses_of_the_plain_one(recipe, tmp_path):
    settings = ["stages.0.steps=2", "stages.1.steps=2"]
    train(recipe(), [f"output_dir={tmp_path / 'plain'}", *settings])
    train(recipe(), [f"output_dir={tmp_path / 'compiled'}", "run.compile=true", *settings])
    assert _losses(tmp_path / "compiled") == pytest.approx(_losses(tmp_path / "plain"), abs=2e-5)
