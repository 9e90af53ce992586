"""Two checkpoints are the same when every bit is."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import save_file

from skyeye.cli import main
from skyeye.errors import SkyEyeError
from skyeye.models.difference import first_difference

WEIGHTS = {"w": torch.tensor([[1.0, float("nan")], [0.0, 2.0]]), "n": torch.tensor(3)}


@pytest.fixture
def run(tmp_path):
    """A function that writes a run folder of one exported model and its resume states, the newest last."""

    def write(name: str, weights=WEIGHTS, states=("train-0000002",), moments=WEIGHTS, steps=2.0, **more):
        folder = tmp_path / name
        for place, tensors in {"checkpoints/train": weights, **more}.items():
            (folder / place).mkdir(parents=True)
            save_file(tensors, folder / place / "model.safetensors")
        for serial, state in enumerate(states):
            (folder / "states" / state).mkdir(parents=True)
            save_file(moments, folder / "states" / state / "moments.safetensors")
            manifest = {"serial": serial, "optimizer_steps": {"w": steps}, "scaler": None}
            (folder / "states" / state / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return write


def test_the_same_numbers_are_identical_nan_included(run, capsys):
    a, b = run("a"), run("b", states=("train-0000001", "train-0000002"))
    assert first_difference(a, b) is None, "an older state that only one run kept does not count"
    assert main(["checkpoint", "diff", str(a), str(b)]) == 0
    assert capsys.readouterr().out == "identical\n"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"w": torch.tensor([[1.0, float("nan")], [0.0, 2.5]])}, "w differs"),
        ({"w": torch.tensor([[1.0, float("nan")], [-0.0, 2.0]])}, "w differs"),
        ({"w": torch.zeros(4)}, r"w is float32 \(2, 2\) and float32 \(4,\)"),
        ({"n": torch.tensor(3, dtype=torch.int32)}, "n is int64"),
        ({"x": torch.tensor(1)}, "x is only in"),
    ],
)
def test_the_first_tensor_that_differs_is_named(run, capsys, change, told):
    a, b = run("a"), run("b", WEIGHTS | change)
    assert main(["checkpoint", "diff", str(a), str(b)]) == 1
    assert re.search(rf"checkpoints/train/model.safetensors: .*{told}", capsys.readouterr().out)


def test_a_model_that_only_one_run_has(run):
    a, b = run("a"), run("b", **{"checkpoints/second": WEIGHTS})
    assert "checkpoints/second/model.safetensors is only in" in first_difference(a, b)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"moments": WEIGHTS | {"n": torch.tensor(4)}}, "states/train-0000002/moments.safetensors: n differs"),
        ({"steps": 3.0}, "states/train-0000002/manifest.json: optimizer_steps differs"),
        # the names in the order of the alphabet are not those of time
        ({"states": ("train-0000002", "late-0000001")}, "states/late-0000001/.* is only in"),
        ({"states": ()}, "states/train-0000002/.* is only in"),
    ],
)
def test_the_optimiser_at_the_end_counts_though_the_models_are_equal(run, capsys, other, told):
    a, b = run("a"), run("b", **other)
    for first, second in ((a, b), (b, a)):
        assert main(["checkpoint", "diff", str(first), str(second)]) == 1
        assert re.match(told, capsys.readouterr().out)


def test_a_state_with_a_broken_manifest_is_named(run, tmp_path):
    a, b = run("a"), run("b")
    (b / "states/train-0000002/manifest.json").write_text("[]")
    with pytest.raises(SkyEyeError, match="b/states/train-0000002/manifest.json.*no manifest"):
        first_difference(a, b)


def test_a_folder_without_tensors_and_a_broken_file(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SkyEyeError, match="holds no"):
        first_difference(run("a"), tmp_path / "empty")
    broken = run("b")
    (broken / "checkpoints/train/model.safetensors").write_bytes(b"no")
    with pytest.raises(SkyEyeError, match="it is text"):
        first_difference(tmp_path / "a", broken)
