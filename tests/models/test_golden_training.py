"""Eight optimiser steps of the reference's runner: losses, learning rates, weights afterwards.

Adam divides by the gradient's own size, so a difference of 1e-7 in a tiny gradient may be 1e-3 of a step: the weights
are compared at a fraction of the distance they moved.
"""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from skyeye.models.checkpoint import reference_name
from skyeye.train.optim import learning_rate, parameter_groups

pytestmark = pytest.mark.golden


@pytest.fixture
def stated(golden) -> dict:
    return json.loads((golden / "train_steps.json").read_text())


@pytest.mark.parametrize("accumulation", [1, 2])
def test_steps(golden, golden_model, golden_batch, stated, accumulation):
    record = stated[f"accum{accumulation}"]
    settings = record["run"]
    assert settings.get("accum_grad_iters", 1) == accumulation
    optimizer = torch.optim.AdamW(parameter_groups(golden_model.named_parameters(), settings["weight_decay"]))
    losses = []
    for step, name in enumerate(record["batches"]):
        rate = learning_rate(
            step,
            lr=settings["init_lr"],
            min_lr=settings["min_lr"],
            warmup_lr=settings["warmup_lr"],
            warmup_steps=settings["warmup_steps"],
            total_steps=settings["max_epoch"] * settings["iters_per_epoch"],
        )
        assert rate == pytest.approx(record["lrs"][step], rel=1e-12)
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, _ = golden_batch(name)
        loss = golden_model(**inputs, logits="supervised").loss
        loss.backward()  # gradients are summed over the accumulation, not averaged
        losses.append(loss.item())
        if (step + 1) % accumulation == 0:
            optimizer.step()
            optimizer.zero_grad()
    assert losses == pytest.approx(record["losses"], abs=5e-6)

    before = load_file(golden / "model.safetensors")
    after = load_file(golden / f"train_accum{accumulation}.safetensors")
    trained = {reference_name(n): p.detach() for n, p in golden_model.named_parameters() if p.requires_grad}
    assert trained.keys() == after.keys()
    for name, weights in trained.items():
        moved = (after[name] - before[name]).abs().max().item()
        assert moved > 0
        assert_close(weights, after[name], atol=2e-3 * moved, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_parameter_groups(golden_model, stated):
    names = {id(parameter): reference_name(name) for name, parameter in golden_model.named_parameters()}
    groups = parameter_groups(golden_model.named_parameters(), stated["accum1"]["run"]["weight_decay"])
    for ours, theirs in zip(groups, stated["optimizer"]["groups"], strict=True):
        assert ours["weight_decay"] == theirs["weight_decay"]
        assert {names[id(parameter)] for parameter in ours["params"]} == set(theirs["params"])
