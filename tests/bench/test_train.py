"""What the training benchmark counts and compares, on a model of a few thousand parameters."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import skyeye.models  # noqa: F401  makes torchvision importable before transformers asks for it
from skyeye.bench.common import alternate, ratios
from skyeye.bench.model import bench_model
from skyeye.bench.planned import planned_bytes
from skyeye.bench.train import TrainingStep, bench_train, equality, some_samples
from skyeye.cli import main
from skyeye.config.schema import LanguageConfig, LoraConfig, ModelConfig, VisionConfig
from skyeye.models import prefix_attention
from skyeye.models.flops import StepFlops, supervised
from skyeye.models.precision import in_precision
from skyeye.plan.memory import LiveBytes
from skyeye.plan.workloads import DISTRIBUTIONS, PREFIX_WORDS, made_groups

TEXT = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
}


@pytest.fixture
def small():
    config = ModelConfig(
        vision=VisionConfig(image_size=56, patch_size=7, width=32, depth=2, heads=2, mlp_ratio=2.0),
        language=LanguageConfig(config=TEXT),
        lora=LoraConfig(r=4, dropout=0.0),
    )
    return bench_model(config=config)[0]


def groups(count: int = 2, distribution: str = "captions"):
    return made_groups(distribution, count, tokens_per_image=16, vocabulary=100)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_made_groups_have_the_shape_of_their_distribution(distribution):
    made = made_groups(distribution, 87, tokens_per_image=16, vocabulary=100)
    assert len(made) == 87
    assert made == made_groups(distribution, 87, tokens_per_image=16, vocabulary=100)
    assert made != made_groups(distribution, 87, tokens_per_image=16, vocabulary=100, seed=1)
    sources = DISTRIBUTIONS[distribution]
    expected = sum(source.samples for source in sources) / sum(source.images for source in sources)
    samples = sum(len(group.branches) for group in made)
    assert samples / len(made) == pytest.approx(expected, rel=0.15)
    for group in made:
        assert len(group.prefix_ids) == PREFIX_WORDS + 16 and group.prefix_ids.count(-1) == 16
        source = next(source for source in sources if group.images[0].startswith(source.name))
        for branch in group.branches:
            targets = sum(label >= 0 for label in branch.labels)
            assert source.answer[0] <= targets <= source.answer[2]
            assert source.question[0] <= len(branch.labels) - targets <= source.question[2]


def test_the_table_of_skyeye968k_adds_up():
    assert sum(source.samples for source in DISTRIBUTIONS["skyeye968k"]) == pytest.approx(968, abs=1.5)


def test_ratios_are_taken_within_pairs():
    assert ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == {"median": 2.0, "min": 1.0, "max": 3.0, "pairs": 3}


def test_halves_of_a_pair_change_places_and_the_first_round_is_not_measured():
    order: list[str] = []

    def run(name: str):
        return lambda: order.append(name) or float(len(order))

    ours, baseline = alternate(run("a"), run("b"), pairs=3, seconds=60)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert ours == [3.0, 6.0, 7.0] and baseline == [4.0, 5.0, 8.0]
    assert len(alternate(run("a"), run("b"), pairs=5, seconds=0.0)[0]) == 1, "no time left: one pair"


@pytest.mark.parametrize("layout", ["shared", "separate"])
def test_operations_against_a_count_of_every_product(small, layout):
    made = groups()
    step = TrainingStep(small, made, budget=10_000)
    with FlopCounterMode(display=False) as counter:
        if layout == "shared":
            step.shared()
        else:
            step.separate(made)
    flops = StepFlops(step.objective)
    ours = flops.shared(made) if layout == "shared" else flops.separate(made)
    # Not the same: a causal product is counted whole, padding too, and the loss in one piece has no second forward.
    assert ours == pytest.approx(counter.get_total_flops(), rel=0.12)


def test_equality_of_both_layouts(small):
    found = equality(TrainingStep(small, groups(), budget=500))
    assert found["images"] == 2 and found["samples"] == 10
    assert found["loss_difference"] < 1e-5 and found["gradient_difference"] < 1e-5 < found["largest_gradient"]
    assert found["trained_tensors"] == 2 * 2 * 2 + 2  # two layers x (q, v) x (A, B), and the projector


def test_equality_notices_branches_that_see_each_other(small, monkeypatch):
    one_branch = prefix_attention.split_mask

    def broken(group_ids, branch_ids):
        return one_branch(group_ids, branch_ids.clamp(max=1))

    monkeypatch.setattr(prefix_attention, "split_mask", broken)
    assert equality(TrainingStep(small, groups(), budget=500))["gradient_difference"] > 1e-5


def test_an_even_selection_of_samples():
    made = groups(4)
    few = some_samples(made, 7)
    assert sum(len(group.branches) for group in few) == 7
    assert len({group.images for group in few}) == 4
    assert all(
        branch in whole.branches
        for group in few
        for whole in made
        if whole.images == group.images
        for branch in group.branches
    )


def test_supervised_tokens_are_those_with_a_label():
    made = groups(1)
    assert supervised(made) == sum(len(b.labels) - b.labels.count(-100) for b in made[0].branches)


def test_precision_leaves_what_is_trained_in_float32(small):
    in_precision(small, torch.bfloat16)
    kinds = {name: p.dtype for name, p in small.named_parameters()}
    assert all(kind == torch.float32 for name, kind in kinds.items() if "lora_" in name or "projector" in name)
    assert kinds["language_model.base_model.model.model.embed_tokens.weight"] == torch.bfloat16


def test_a_whole_measurement(small):
    result = bench_train(TrainingStep(small, groups(), budget=200), baseline_samples=3, pairs=2, seconds=30)
    assert result["ratio_samples_per_second"]["pairs"] == 2
    for layout in ("shared", "separate"):
        assert result[layout]["samples_per_second"] > 0
        assert set(result[layout]["time_share"]) == {"data", "vision", "language forward", "backward", "optimiser"}
        assert sum(result[layout]["time_share"].values()) == pytest.approx(1, abs=1e-3)
        shares = result[layout]["share_of_measured_matmul_rate"]
        assert set(shares) == {"vision", "language forward", "backward", "step"}
        assert min(shares.values()) > 0
    assert result["shared"]["padding_share"] == 0
    assert result["sizes"]["samples"] == 10 and result["sizes"]["baseline_samples"] == 3


def test_the_command_with_a_recipe_and_its_data(recipe, tmp_path, capsys):
    file = tmp_path / "out" / "bench.json"
    assert main(["bench", "train", str(recipe()), "--images", "3", "--seconds", "0", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["sizes"]["images"] == 3 and result["equality"]["gradient_difference"] < 1e-5
    assert "x the samples per second of the baseline" in capsys.readouterr().out


def test_what_is_planned_of_a_step_is_its_tensors(small):
    """Weights, gradients and moments by their sizes; the rest as counted while the real step runs."""
    small.set_trainable(vision="frozen", projector="full", language="lora")
    step = TrainingStep(small, groups(3), budget=4096)
    trained = sum(p.numel() for p in small.parameters() if p.requires_grad)
    others = [t for t in (*small.parameters(), *small.buffers()) if not t.requires_grad]
    there = 4 * 4 * trained + sum(t.numel() * t.element_size() for t in others)
    planned = planned_bytes(step) - there
    for parameter in small.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    live = LiveBytes()
    live.ignore(step.objective)
    with live:
        step.loss(step.groups, True, supervised(step.groups)).backward()
    assert planned == pytest.approx(live.peak, rel=0.2)
