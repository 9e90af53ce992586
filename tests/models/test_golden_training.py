"""Optimiser steps of the reference's runner: losses, learning rates, weights afterwards.

Adam divides by the gradient's own size, so a difference of 1e-7 in a tiny gradient may be 1e-3 of a step: the weights
are compared at a fraction of the distance they moved.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from skyeye.models.converters.minigpt_v2 import reference_name
from skyeye.train.optim import learning_rate, parameter_groups

pytestmark = pytest.mark.golden


GOLDEN = Path(os.environ.get("SKYEYE_GOLDEN") or Path(__file__).parents[1] / "golden")
STATED = json.loads((GOLDEN / "train_steps.json").read_text())
RUNS = [name for name, record in STATED.items() if "batches" in record]
assert RUNS, "a set without steps proves nothing"


@pytest.mark.parametrize("name", RUNS)
def test_steps(golden, golden_model, golden_batch, name):
    record, (first, *_) = STATED[name], STATED["optimizer"]["groups"]
    settings = record["run"]
    accumulation = settings.get("accum_grad_iters", 1)
    assert name == f"accum{accumulation}"
    groups = parameter_groups(golden_model.named_parameters(), settings["weight_decay"])
    optimizer = torch.optim.AdamW(groups, betas=first["betas"], eps=first["eps"])
    losses = []
    for step, batch in enumerate(record["batches"]):
        rate = learning_rate(
            step,
            lr=settings["init_lr"],
            min_lr=settings["min_lr"],
            warmup_lr=settings["warmup_lr"],
            warmup_steps=settings["warmup_steps"],
            total_steps=settings["max_epoch"] * settings["iters_per_epoch"],
            steps_per_epoch=settings["iters_per_epoch"],
        )
        assert rate == pytest.approx(record["lrs"][step], rel=1e-12)
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, _ = golden_batch(batch)
        loss = golden_model(**inputs, logits="supervised").loss
        loss.backward()  # gradients are summed over the accumulation, not averaged
        losses.append(loss.item())
        if (step % settings["iters_per_epoch"] + 1) % accumulation == 0:  # the reference counts in each epoch anew
            optimizer.step()
            optimizer.zero_grad()
    assert losses == pytest.approx(record["losses"], abs=5e-6)

    before = load_file(golden / "model.safetensors")
    after = load_file(golden / f"train_{name}.safetensors")
    trained = {reference_name(n): p.detach() for n, p in golden_model.named_parameters() if p.requires_grad}
    assert trained.keys() == after.keys()
    for key, weights in trained.items():
        moved = (after[key] - before[key]).abs().max().item()
        assert moved > 0
        assert_close(weights, after[key], atol=2e-3 * moved, rtol=0, msg=lambda text, key=key: f"{key}: {text}")


def test_parameter_groups(golden_model):
    names = {id(parameter): reference_name(name) for name, parameter in golden_model.named_parameters()}
    groups = parameter_groups(golden_model.named_parameters(), STATED[RUNS[0]]["run"]["weight_decay"])
    for ours, theirs in zip(groups, STATED["optimizer"]["groups"], strict=True):
        assert ours["weight_decay"] == theirs["weight_decay"]
        assert {names[id(parameter)] for parameter in ours["params"]} == set(theirs["params"])
