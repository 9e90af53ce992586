"""fp16 on a CPU: what torch and DeepSpeed compute there is slow, but their loss scalers are those of a GPU."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from processes import run, said
from safetensors.torch import load_file

from skyeye.config.schema import GuardsConfig
from skyeye.errors import SkyEyeError
from skyeye.models.difference import first_difference
from skyeye.train.guards.guards import Guard, Rewind
from skyeye.train.run import train

#: Where an update that is held back once makes the run go back, so that it could not be overlooked.
STEPS = ["stages.0.steps=3", "stages.1.steps=3", "run.checkpoint_every=1", "run.keep_states=9", "run.guards.patience=1"]


def _train(recipe, folder: Path, strategy: str, *overrides: str, code: int = 0, **options) -> Path:
    path = recipe(output_dir=str(folder))
    options.setdefault("inject", "injected:fp16_on_the_cpu")
    options.setdefault("processes", 1 if strategy == "single" else 2)
    codes = run(path, *STEPS, f"run.strategy={strategy}", "run.precision=fp16", *overrides, **options)
    assert code in codes, f"{codes}\n{said(path)[-3000:]}"
    return folder


def _manifest(folder: Path, state: str) -> dict:
    return json.loads((folder / "states" / state / "manifest.json").read_text())


@pytest.mark.parametrize("strategy", ["single", "ddp", "zero1", "zero2", "zero3"])
def test_a_gradient_too_large_for_the_scale_lowers_it_and_is_no_offence(recipe, tmp_path, strategy):
    folder = _train(recipe, tmp_path / "run", strategy, inject="injected:overflow_in_second_step")
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [(event["event"], event["stage"], event["step"]) for event in events] == [
        ("overflow", "pretrain", 2),
        ("overflow", "single_task", 2),
    ]
    assert [event["loss_scale"] for event in events] == [2.0**15] * 2
    scales = [_manifest(folder, f"pretrain-{step:07d}")["scaler"]["scale"] for step in (1, 2, 3)]
    assert scales == [2.0**16, 2.0**15, 2.0**15]
    assert set(_manifest(folder, "pretrain-0000003")["optimizer_steps"].values()) == {2.0}


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """The folder of the single process that all strategies are held against; the first test makes it."""
    return tmp_path_factory.mktemp("alone") / "run"


@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
def test_gradients_are_clipped_and_logged_without_their_scale(recipe, tmp_path, one_process, strategy):
    """Against a single process: AdamW's first moments tell how large the gradients were that it got."""
    limit = "stages.0.optimizer.clip_norm=0.5"  # they are 0.9: with the scale left in, all of them are cut to 1e-5
    ours = _train(recipe, tmp_path / "ours", strategy, limit)
    alone = one_process if one_process.exists() else _train(recipe, one_process, "single", limit)
    norms = [
        [json.loads(line)["gradient_norm"] for line in (at / "log.jsonl").read_text().splitlines()][:3]
        for at in (ours, alone)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=0.02) and min(norms[1]) > 0.5
    state = "states/pretrain-0000001/moments.safetensors"
    ours, alone = (
        torch.cat([moment.flatten() for name, moment in sorted(load_file(at / state).items()) if "sq" not in name])
        for at in (ours, alone)
    )
    assert float((ours - alone).norm() / alone.norm()) < 0.05
    assert float(alone.norm()) == pytest.approx(0.1 * 0.5, rel=0.01)  # (1 - beta_1) * limit


@pytest.mark.parametrize("strategy", ["single", "zero2"])
def test_a_run_that_goes_on_has_the_scale_it_had(recipe, tmp_path, strategy):
    inject = "injected:overflow_in_second_step"
    whole = _train(recipe, tmp_path / "whole", strategy, inject=inject)
    die = {
        "die": "skyeye.train.checkpoint.state:_replace:2+",
        "code": -signal.SIGKILL,
    }  # with the state after the second step
    killed = _train(recipe, tmp_path / "killed", strategy, inject=inject, **die)
    assert _manifest(killed, "pretrain-0000002")["scaler"]["scale"] == 2.0**15
    _train(recipe, killed, strategy, inject=inject, resume=True)
    assert first_difference(whole, killed) is None
    assert _manifest(killed, "pretrain-0000003")["scaler"] == _manifest(whole, "pretrain-0000003")["scaler"]


@pytest.mark.parametrize(("scale", "event"), [(1.0, "overflow"), (0.5, "held back")])
def test_where_no_scale_helps_the_gradient_is_wrong(tmp_path, scale, event):
    accelerator = SimpleNamespace(
        reduce=lambda tensor, how: tensor,
        scaler=SimpleNamespace(get_scale=lambda: scale),
        distributed_type=DistributedType.NO,
        is_main_process=True,
        process_index=0,
    )
    guard = Guard(accelerator, GuardsConfig(patience=2), tmp_path, "s")
    guard.watch(SimpleNamespace(optimizer=None))
    for step in (0, 1):
        guard.losses(torch.tensor(1.0))
        guard.norm(float("inf"))
        if step and event == "held back":
            with pytest.raises(Rewind):
                guard.finish(step, ["a"])
        else:
            guard.finish(step, ["a"])
    events = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events == [event] * 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_fp16_is_refused_where_it_would_be_float32(recipe):
    with pytest.raises(SkyEyeError, match="fp16 needs a GPU"):
        train(recipe(), ["run.precision=fp16"])
