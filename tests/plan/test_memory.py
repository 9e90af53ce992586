"""The memory of a step counted without a device, against arithmetic, against live tensors, against the process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import HANGS
from torch import nn

from skyeye.models.checkpointing import checkpoint_layers
from skyeye.models.precision import DTYPES
from skyeye.plan.memory import LiveBytes, Load, StepCounter

SCRIPT = Path(__file__).parents[1] / "train" / "measured_step.py"
_spec = importlib.util.spec_from_file_location("measured_step", SCRIPT)
measured_step = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(measured_step)

LOAD = {"tokens": 1536, "images": 6, "targets": 192}
#: Half of it: 96 MB, which is counted to a thousandth, in two thirds of the time.
HALF = {"tokens": 768, "images": 3, "targets": 96}
#: Where bfloat16 is computed: a processor that does not multiply it needs minutes for more.
SMALL = {"tokens": 768, "images": 6, "targets": 192, "sizes": {"layers": 2, "hidden": 256}}


def _settings(precision="fp32", frozen="fp32", checkpointing=False, vision="frozen", language="lora", **more) -> dict:
    return {
        "precision": precision,
        "frozen": frozen,
        "checkpointing": checkpointing,
        "vision": vision,
        "language": language,
        **LOAD,
        **more,
    }


def _counter(settings: dict, gpu: bool = False) -> StepCounter:
    with torch.device("meta"):
        objective = measured_step.prepared(settings)
    autocast = None if settings["precision"] == "fp32" else DTYPES[settings["precision"]]
    return StepCounter(objective, autocast=autocast, gpu=gpu, resting=True)


def _measured(settings: dict) -> int:
    """Bytes that a process of its own takes on top of weights, gradients and optimiser."""
    # Large blocks go back to the system when they are freed; kept ones would count as memory of the next step.
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_ARENA_MAX": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SCRIPT), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])["peak"]


def test_live_bytes_of_two_layers_by_hand():
    """(100, 8) through 8 x 8 twice, float32: input 3,200; both results are kept for the backward pass."""
    layers = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Tanh(), nn.Linear(8, 8, bias=False))
    live = LiveBytes()
    live.ignore(layers)
    with live:
        values = torch.ones(100, 8)
        result = layers(values)
        # The product is gone when its tanh is there.
        assert live.now == 3 * 3200 and live.peak == 3 * 3200
        view = result.view(-1)
        assert live.now == 3 * 3200
        del view, values, result
        assert live.now == 0


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"vision": "full", "language": "full"},
        {"precision": "bf16"},
        {"precision": "bf16", "frozen": "bf16"},
        {"precision": "bf16", "vision": "full", "language": "full"},
    ],
    ids=["adapters", "all", "bf16", "frozen-bf16", "all-bf16"],
)
def test_the_count_is_that_of_a_real_step(chosen, checkpointing):
    """Real tensors under the same counter: the stand-ins take the same ways through the libraries."""
    sizes = {"layers": 2} if "precision" in chosen else {}  # bfloat16 is slow where the processor does not multiply it
    settings = _settings(checkpointing=checkpointing, tokens=512, images=3, targets=64, sizes=sizes, **chosen)
    counted = _counter(settings).count(Load(512, 3, 64), checkpointing)
    objective = measured_step.prepared(settings).train()
    if checkpointing:
        checkpoint_layers(objective.model)
    for parameter in objective.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    batch = measured_step.packed(512, 3, 64, objective.model.tokens_per_image)
    live = LiveBytes()
    live.ignore(objective)
    with live:
        pixels = torch.zeros(3, 3, 112, 112)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings["precision"] == "bf16"):
            loss = objective(batch["input_ids"], pixel_values=pixels, labels=batch["labels"])
        loss.backward()
    assert counted.peak == pytest.approx(live.peak, rel=0.03)
    assert min(counted.activations, counted.logits) > 0 and counted.working >= 0


@pytest.mark.parametrize(
    ("precision", "frozen", "checkpointing", "load"),
    [
        ("fp32", "fp32", False, HALF),
        ("bf16", "bf16", True, SMALL),
        pytest.param("fp32", "fp32", True, LOAD, marks=pytest.mark.slow),
        pytest.param("bf16", "fp32", False, LOAD, marks=pytest.mark.slow),
        pytest.param("bf16", "fp32", True, LOAD, marks=pytest.mark.slow),
        pytest.param("bf16", "bf16", False, LOAD, marks=pytest.mark.slow),
        pytest.param("bf16", "bf16", True, LOAD, marks=pytest.mark.slow),
    ],
    ids=lambda value: f"{value['tokens']}" if isinstance(value, dict) else None,
)
def test_the_count_agrees_with_the_memory_of_the_process(precision, frozen, checkpointing, load):
    settings = _settings(precision, frozen, checkpointing, **load)
    pack = Load(settings["tokens"], settings["images"], settings["targets"])
    counted = _counter(settings).count(pack, checkpointing).peak
    assert counted == pytest.approx(_measured(settings), rel=0.10)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize(("precision", "frozen"), [("bf16", "fp32"), ("bf16", "bf16")])
def test_the_count_agrees_with_the_memory_of_a_gpu(precision, frozen, checkpointing):
    sizes = {"layers": 12, "hidden": 1024}
    settings = _settings(
        precision, frozen, checkpointing, tokens=6144, images=12, targets=768, device="cuda", sizes=sizes
    )
    counted = _counter(settings, gpu=True).count(Load(6144, 12, 768), checkpointing).peak
    assert counted == pytest.approx(_measured(settings), rel=0.10)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_cost_of_a_token_is_constant(checkpointing):
    counter = _counter(_settings("bf16"))
    sizes = [counter.count(Load(n * 512, n * 2, n * 32), checkpointing).peak for n in (2, 4, 8)]
    assert sizes[2] - sizes[1] == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.02)


def test_float32_weights_that_stay_frozen_leave_a_copy_for_the_backward_pass():
    """Autocast makes a bfloat16 copy of each frozen matrix and the backward pass needs it: 2 bytes a value."""
    with torch.device("meta"):
        objective = measured_step.prepared(_settings())
    layers = objective.model.language_model.get_base_model().model.layers
    matrices = sum(p.numel() for name, p in layers.named_parameters() if "lora_" not in name and p.ndim == 2)
    load = Load(512, 2, 16)
    as_float, as_half = (_counter(_settings("bf16", f)).count(load, False).activations for f in ("fp32", "bf16"))
    assert as_float - as_half > 0.9 * 2 * matrices


def test_logits_are_those_of_one_piece():
    """1,024 targets of a vocabulary of 2,000 in float32 are 8.2 MB; more targets are computed piece by piece."""
    counter = _counter(_settings())
    one, four = (counter.count(Load(8192, 4, targets), True).logits for targets in (1024, 4096))
    assert one > 2000 * 1024 * 4
    assert four < 1.5 * one


def test_checkpointing_keeps_the_input_of_each_layer():
    load = Load(2048, 2, 16)
    counter = _counter(_settings())
    plain, checkpointed = counter.count(load, False), counter.count(load, True)
    inputs = 4 * 2048 * 512 * 4  # layers, tokens, width, float32
    assert inputs < checkpointed.activations < 2.5 * inputs < plain.activations


def test_a_feature_cache_takes_the_tower_out():
    with torch.device("meta"):
        objective = measured_step.prepared(_settings())
    cached = StepCounter(objective, autocast=None, features=torch.bfloat16)
    load = Load(1024, 8, 8)
    assert cached.count(load, True).peak < _counter(_settings()).count(load, True).peak
