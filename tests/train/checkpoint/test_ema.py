"""The moving average of what is trained: its arithmetic, its place in states and exports."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from processes import run, said
from safetensors.torch import load_file
from torch import nn

from skyeye.errors import SkyEyeError
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.train import loop
from skyeye.train.checkpoint.ema import MovingAverage
from skyeye.train.run import train

DECAY = 0.75  # a sum of powers of two: every number below is exact


def _layer(value: float) -> nn.Linear:
    layer = nn.Linear(2, 1)
    layer.bias.requires_grad_(False)
    layer.weight.data.fill_(value)
    return layer


def test_it_is_the_average_of_the_formula():
    layer = _layer(8.0)
    average = MovingAverage(layer, DECAY)
    for value in (16.0, 4.0):
        layer.weight.data.fill_(value)
        average.update()
    # 0.75 * (0.75 * 8 + 0.25 * 16) + 0.25 * 4
    assert {name: tensor.tolist() for name, tensor in average.state_dict().items()} == {"weight": [[8.5, 8.5]]}
    assert layer.weight.tolist() == [[4.0, 4.0]]


def test_the_model_holds_it_for_a_while_and_then_what_was_trained():
    layer = _layer(8.0)
    average = MovingAverage(layer, DECAY)
    layer.weight.data.copy_(torch.tensor([[0.1, 0.3]]))
    with pytest.raises(ValueError, match="inside"), average.in_place():
        assert layer.weight.tolist() == [[8.0, 8.0]]
        raise ValueError("inside")
    assert torch.equal(layer.weight, torch.tensor([[0.1, 0.3]]))


def test_it_is_kept_in_float32_where_parameters_are_not():
    layer = _layer(1.0).to(torch.bfloat16)
    average = MovingAverage(layer, 0.999)
    layer.weight.data.fill_(2.0)
    average.update()  # 1.001: bfloat16 has no such number
    assert average.state_dict()["weight"][0, 0].item() == pytest.approx(1.001, abs=1e-6)


def test_saved_and_loaded_it_goes_on_and_the_model_stays():
    layer, other = _layer(8.0), _layer(5.0)
    average, again = MovingAverage(layer, DECAY), MovingAverage(other, DECAY)
    again.load_state_dict(average.state_dict())
    assert other.weight.tolist() == [[5.0, 5.0]]
    again.update()
    assert again.state_dict()["weight"].tolist() == [[7.25, 7.25]]
    with pytest.raises(SkyEyeError, match="bias"):
        again.load_state_dict({"weight": torch.zeros(1, 2), "bias": torch.zeros(1)})


def _weights(folder, stage):
    return load_file(folder / "checkpoints" / stage / "model.safetensors")


def test_a_run_exports_it_beside_what_was_trained_though_it_was_interrupted(recipe, tmp_path, monkeypatch):
    settings = ["stages.1.optimizer.ema_decay=0.5", "stages.1.steps=3"]
    seen = []
    real_rate, real_update, steps = loop.learning_rate, MovingAverage.update, 0

    def update(self):
        seen.append({name: p.detach().clone() for name, p in self._parameters.items()})
        real_update(self)

    def interrupt(*arguments, **named):
        nonlocal steps
        steps += 1
        if steps == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return real_rate(*arguments, **named)

    monkeypatch.setattr(MovingAverage, "update", update)
    monkeypatch.setattr(loop, "learning_rate", interrupt)
    path = recipe()
    assert train(path, settings) is None
    train(path, settings, resume=True)
    before, after, averaged = (_weights(tmp_path / "run", s) for s in ("pretrain", "single_task", "single_task-ema"))
    assert len(seen) == 3
    for name, first in before.items():
        if name not in seen[0]:
            assert torch.equal(averaged[name], after[name]), name
            continue
        one, two, three = (values[name] for values in seen)
        assert torch.equal(three, after[name])
        torch.testing.assert_close(averaged[name], first / 8 + one / 8 + two / 4 + three / 2, rtol=0, atol=1e-7)
    assert not (tmp_path / "run" / "checkpoints" / "pretrain-ema").exists()
    SkyEyeForConditionalGeneration.from_pretrained(tmp_path / "run" / "checkpoints" / "single_task-ema")


def test_a_step_that_moved_nothing_does_not_count(recipe, tmp_path):
    """An overflow of fp16, which is no offence."""
    settings = ["stages.0.optimizer.ema_decay=0.5", "run.checkpoint_every=1", "run.keep_states=9", "run.precision=fp16"]
    path = recipe()
    assert run(path, *settings, inject="injected:overflow_in_second_step") == [0], said(path)
    states = [tmp_path / "run" / "states" / f"pretrain-{step:07d}" for step in (1, 2, 3)]
    moments = [load_file(state / "moments.safetensors") for state in states]
    trained = load_file(states[2] / "parameters.safetensors")
    for name, now in trained.items():
        one, two, three = (at[f"{name}/average"] for at in moments)
        assert torch.equal(one, two), name
        torch.testing.assert_close(three, one / 2 + now / 2, rtol=0, atol=1e-7)
    assert any(not torch.equal(moments[1][name], moments[2][name]) for name in moments[1] if name.endswith("/average"))


@pytest.mark.parametrize("strategy", ["zero3"])
def test_shared_out_it_is_the_one_of_a_single_process(recipe, launch, tmp_path, strategy):
    settings = ["stages.0.optimizer.ema_decay=0.5", "stages.1.steps=2", "stages.0.steps=3"]
    launch(recipe(), f"output_dir={tmp_path / 'single'}", *settings)
    launch(recipe(), f"output_dir={tmp_path / 'shared'}", f"run.strategy={strategy}", *settings, processes=2)
    ours, alone = _weights(tmp_path / "shared", "pretrain-ema"), _weights(tmp_path / "single", "pretrain-ema")
    plain = _weights(tmp_path / "shared", "pretrain")
    assert ours.keys() == alone.keys()
    close = [torch.isclose(ours[name], alone[name], atol=2e-4).float().mean() for name in alone]
    assert min(close) > 0.98
    different = [name for name in ours if not torch.allclose(ours[name], plain[name], atol=2e-4)]
    assert any(ours[name].ndim == 1 for name in different) and any(ours[name].ndim == 2 for name in different)
