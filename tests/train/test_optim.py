"""AdamW groups and the learning-rate schedule, against the reference's own numbers."""

import json

import pytest
import torch
from torch import nn

from skyeye.train.optim import learning_rate, parameter_groups


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


def test_only_matrices_are_decayed_and_frozen_parameters_are_left_out():
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
