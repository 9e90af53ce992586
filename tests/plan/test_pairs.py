"""The plan of two towers: numbers against arithmetic, memory against a step that is computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from skyeye.cli import main
from skyeye.config.load import load_recipe
from skyeye.models.contrastive import ContrastiveObjective
from skyeye.models.two_towers import TwoTowers, TwoTowersConfig
from skyeye.plan import pairs as planning
from skyeye.plan.hardware import Hardware
from skyeye.plan.memory import LiveBytes
from skyeye.plan.plan import make_plan
from skyeye.plan.text import format_text

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = ["model.vision.image_size=32", "model.vision.arguments.depth=1", "model.text.depth=1", "model.text.context=12"]
TINY += ["model.tokenizer.train_vocab_size=700"]


@pytest.fixture
def few(monkeypatch):
    """What fits is not looked for beyond a few pairs."""
    monkeypatch.setattr(planning, "COUNTED_PAIRS", (16,))


@pytest.fixture
def tiny(world):
    """A function: overrides -> the recipe of tiny two towers, on synthetic scenes."""
    data = ["sources.rsicd.format=synthetic", f"sources.rsicd.path={world}", "sources.rsicd.split=null"]
    data += ["sources.rsicd.images=null"]
    return lambda *more: load_recipe(CONFIGS / "two_towers_tiny.yaml", [*TINY, *data, *more])


def counter(recipe) -> planning.PairCounter:
    with torch.device("meta"):
        model = TwoTowers(TwoTowersConfig.of(recipe.model, 700))
    stage = recipe.stages[0]
    model.set_trainable(vision=stage.vision, projector=stage.projector, text=stage.text)
    return planning.PairCounter(ContrastiveObjective(model), None)


def test_parameters_of_published_models():
    """CLIP ViT-B/32 has 151,277,313 and RN50 102,007,137 (their files, the temperature among them); PE-RSITR's adapter
    64 x 768 down and up, with biases."""
    for name, values, projections in (
        ("remoteclip", 151_277_313, 768 * 512 + 512 * 512 + 1),
        ("remoteclip_rn50", 102_007_137, 50 * 2048 + 3 * 2049 * 2048 + 2049 * 1024 + 512 * 1024 + 1),
        ("pe_rsitr", 151_277_313 + 64 * 768 * 2 + 64 + 768, 768 * 512 + 512 * 512 + 1),
    ):
        with torch.device("meta"):
            model = TwoTowers(TwoTowersConfig.of(load_recipe(CONFIGS / "models" / f"{name}.yaml").model))
        parts = planning._parameters(model)
        assert sum(part["values"] for part in parts.values()) == values
        assert parts["projector"]["values"] == projections
        assert parts["adapters"]["values"] == (0 if name != "pe_rsitr" else 64 * 768 * 2 + 64 + 768)


def test_a_plan_adds_up(tiny, few):
    plan = make_plan(tiny("run.strategy=ddp"), Hardware(gpus=4, memory=2.0, reserve=0.5))
    (stage,) = plan["stages"]
    values = sum(part["values"] for part in plan["parameters"].values())
    single, ddp = stage["strategies"]
    assert stage["trained"] == values and (single["pairs"], ddp["pairs"]) == (64, 16)
    assert (ddp["gradients"], ddp["optimizer"], ddp["buffers"]) == (4 * values, 8 * values, 4 * values)
    for row in (single, ddp):
        parts = "weights gradients optimizer buffers activations logits working update".split()
        assert row["total"] == sum(row[part] for part in parts) and row["fits"]
    # each of 4 compares 16 with 64 both ways: cosines and their logarithms twice in float32, and what all others sent
    assert ddp["logits"] >= 2 * (2 * 16 * 64 * 4) + 2 * 64 * 96 * 4
    assert stage["hours"] == pytest.approx(stage["flops_per_step"] * 200 / (4 * 312e12 * 0.4) / 3600) == plan["hours"]
    assert not plan["warnings"]


def test_operations_are_three_times_the_forward_pass_of_what_is_trained(tiny):
    """A block of width 96 has 12 x 96 x 96 weights, each multiplied and added for 2 x 2 patches and a class token."""
    recipe = tiny()
    forward = 8 * 2 * 12 * 96 * 96 * 5
    one = counter(recipe).count(8, 1).operations
    two = counter(tiny("model.vision.arguments.depth=2")).count(8, 1).operations
    assert two - one == pytest.approx(3 * forward, rel=0.03)  # and attention
    frozen = counter(tiny("stages.pairs.vision=frozen", "model.vision.arguments.depth=2")).count(8, 1).operations
    assert two - frozen >= 2 * 2 * forward  # of two blocks the backward pass, and that of the stem


def test_memory_is_that_of_a_step_that_is_computed(tiny):
    model = TwoTowers(TwoTowersConfig.of(tiny().model, 700)).train()
    objective = ContrastiveObjective(model)
    pixels, ids = torch.randn(24, 3, 32, 32), torch.ones(24, 12, dtype=torch.long)
    paired = torch.ones(24, dtype=torch.bool)
    objective(pixels, ids, paired).backward()  # gradients are there from the second step on
    live = LiveBytes()
    live.ignore(objective)
    with live:
        copies = pixels.clone(), ids.clone()
        objective(*copies, paired).backward()
    counted = counter(tiny()).count(24, 1).memory
    assert counted.peak == pytest.approx(live.peak, rel=0.05)


def test_what_does_not_fit_is_said_with_the_pairs_that_do(tiny, monkeypatch):
    monkeypatch.setattr(planning, "COUNTED_PAIRS", (16, 2048))
    small = Hardware(gpus=1, memory=0.1, reserve=0.01)
    (stage,) = (plan := make_plan(tiny("stages.pairs.images_per_step=2048"), small))["stages"]
    largest = stage["strategies"][0]["largest_pairs"]
    assert 16 <= largest < 2048 and f"set stages.pairs.images_per_step={largest} or less" in plan["warnings"][0]
    (fitting,) = make_plan(tiny(f"stages.pairs.images_per_step={largest}"), small)["stages"]
    assert fitting["strategies"][0]["fits"]
    none = make_plan(tiny("stages.pairs.images_per_step=16"), Hardware(gpus=1, memory=0.011, reserve=0.01))
    assert "no number of pairs fits" in none["warnings"][0]


def test_epochs_are_steps_where_the_data_are_at_hand(tiny, few):
    epochs = ["stages.pairs.steps=null", "stages.pairs.epochs=2", "stages.pairs.images_per_step=16"]
    epochs += ["stages.pairs.optimizer.warmup_steps=1"]
    known = make_plan(tiny(*epochs), Hardware(gpus=1))["stages"][0]
    assert known["steps"] == 2  # 12 pictures twice, 16 a step
    plan = make_plan(tiny(*epochs, "sources.rsicd.path=nowhere"), Hardware(gpus=1))
    assert plan["stages"][0]["steps"] is plan["hours"] is None and "there is no nowhere" in plan["data"]
    text = format_text(plan)
    assert "steps (how many is not known) of 16 pairs" in text and "all stages: hours not known" in text


def test_the_command_plans_two_towers(few, tmp_path, capsys):
    recipe, file = CONFIGS / "two_towers_tiny.yaml", tmp_path / "plan.json"
    there = [*TINY, "stages.pairs.images_per_step=32", "sources.rsicd.path=nowhere"]
    assert main(["plan", str(recipe), *there, "--gpus", "2", "--json", str(file)]) == 0
    said = capsys.readouterr().out
    assert "stage pairs: 200 steps of 32 pairs; of a GPU 32 under single, 16 under ddp" in said
    assert "most pairs that fit" in said and "1 of 2 GPUs stay idle" in said
    assert json.loads(file.read_text())["stages"][0]["pairs_per_step"] == 32
