"""AdamW groups and the learning-rate schedule, against the reference's own numbers."""

import json

import pytest
import torch
from torch import nn

from skyeye.config.schema import OptimizerConfig
from skyeye.errors import SkyEyeError
from skyeye.train.optim import learning_rate, make_optimizer, parameter_groups, set_learning_rate


def _arguments(config: dict) -> dict:
    return {
        "lr": config["init_lr"],
        "min_lr": config["min_lr"],
        "warmup_lr": config["warmup_start_lr"] if config["warmup_start_lr"] >= 0 else config["init_lr"],
        "warmup_steps": config["warmup_steps"],
        "total_steps": config["max_epoch"] * config["iters_per_epoch"],
        "steps_per_epoch": config["iters_per_epoch"],
    }


@pytest.mark.golden
def test_schedule_equals_the_reference_at_every_recorded_step(golden):
    checked = 0
    for case in json.loads((golden / "lr_schedule.json").read_text()).values():
        recorded = dict(enumerate(case["lr"])) if "lr" in case else {int(k): v for k, v in case["lr_at"].items()}
        for step, expected in recorded.items():
            assert learning_rate(step, **_arguments(case["config"])) == pytest.approx(expected, rel=1e-12)
            checked += 1
    assert checked > 3


def test_a_warm_up_longer_than_an_epoch_is_one_line_unless_the_reference_is_asked_for():
    settings = {"lr": 1.0, "min_lr": 0.0, "warmup_lr": 0.0, "warmup_steps": 10, "total_steps": 100}
    assert [learning_rate(step, **settings) for step in (0, 4, 6, 9)] == pytest.approx([0.0, 0.4, 0.6, 0.9])
    assert learning_rate(6, **settings, steps_per_epoch=5) == pytest.approx(0.1)


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))
        self.bias = nn.Parameter(torch.zeros(2))
        self.ln_scale = nn.Parameter(torch.zeros(2, 2))
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)


def test_only_matrices_are_decayed_and_frozen_parameters_are_skipped():
    part = Part()
    decayed, spared = parameter_groups(part.named_parameters(), weight_decay=0.05)
    assert decayed["weight_decay"] == 0.05 and [id(p) for p in decayed["params"]] == [id(part.weight)]
    assert spared["weight_decay"] == 0.0 and {id(p) for p in spared["params"]} == {id(part.bias), id(part.ln_scale)}


@pytest.mark.golden
def test_groups_hold_the_reference_parameters_in_its_order(golden):
    groups = json.loads((golden / "train_steps.json").read_text())["optimizer"]["groups"]
    names = [name for group in groups for name in group["params"]]
    shapes = {name: (2,) if name.endswith("bias") else (2, 2) for name in names}
    named = [(name, nn.Parameter(torch.zeros(shapes[name]))) for name in names]
    ours = parameter_groups(named, weight_decay=groups[0]["weight_decay"])
    name_of = {id(parameter): name for name, parameter in named}
    assert [[name_of[id(p)] for p in group["params"]] for group in ours] == [group["params"] for group in groups]
    assert [group["weight_decay"] for group in ours] == [group["weight_decay"] for group in groups]


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.vision_tower, self.projector, self.language_model, self.objective = (nn.Linear(2, 2) for _ in range(4))


def test_each_part_learns_at_its_own_rate():
    model = Parts()
    optimizer = make_optimizer(
        model, OptimizerConfig(part_lr={"projector": 2.0, "vision": 0.1}, betas=(0.0, 0.0), eps=1e-12, weight_decay=0)
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_learning_rate(optimizer, 0.5)
    optimizer.step()  # without moments AdamW moves by its learning rate
    moved = {name.split(".")[0]: (before[name] - p).mean().item() for name, p in model.named_parameters()}
    assert moved == pytest.approx(
        {"vision_tower": 0.05, "projector": 1.0, "language_model": 0.5, "objective": 0.5}, rel=1e-5
    )


def test_parts_with_rates_of_their_own_keep_their_decay():
    groups = parameter_groups(Parts().named_parameters(), 0.3, {"vision": 0.5})
    found = [(g["lr_factor"], g["weight_decay"], len(g["params"])) for g in groups]
    assert found == [(0.5, 0.3, 1), (0.5, 0.0, 1), (1.0, 0.3, 3), (1.0, 0.0, 3)]


def test_fused_adamw_computes_what_the_plain_one_does():
    finals = []
    for fused in (False, True):
        torch.manual_seed(1)
        model = Parts()
        optimizer = make_optimizer(model, OptimizerConfig(fused=fused))
        assert bool(optimizer.defaults["fused"]) == fused
        for step in range(5):
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            set_learning_rate(optimizer, 0.1 / (step + 1))
            optimizer.step()
        finals.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(finals[1], finals[0], rtol=1e-6, atol=1e-7)


def test_fused_adamw_where_there_is_none_is_refused(monkeypatch):
    def refuse(*arguments, fused=False, **named):
        raise RuntimeError("`fused=True` requires all the params to be floating point Tensors of supported devices")

    monkeypatch.setattr(torch.optim, "AdamW", refuse)
    with pytest.raises(SkyEyeError, match="cannot be fused here") as refused:
        make_optimizer(Parts(), OptimizerConfig(fused=True))
    assert "optimizer.fused" in str(refused.value)
