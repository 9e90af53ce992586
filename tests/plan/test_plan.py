"""The plan of a run: its numbers against arithmetic, its sentences against what would happen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml

from skyeye.cli import main
from skyeye.config.load import load_model, load_recipe
from skyeye.config.schema import RunConfig, StageConfig
from skyeye.data.sequence import Branch, GroupSequence
from skyeye.errors import SkyEyeError
from skyeye.models import build
from skyeye.models.flops import StepFlops
from skyeye.models.objective import TrainingObjective
from skyeye.plan import plan as planning
from skyeye.plan.plan import Hardware, make_plan, planned_model, planned_objective
from skyeye.plan.strategies import held
from skyeye.train.setup import PlannedStage

CONFIGS = Path(__file__).parents[2] / "configs"
LLAMA_2_7B = (
    "model.language.config={model_type: llama, hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32,"
    " num_attention_heads: 32, vocab_size: 32000, max_position_embeddings: 4096}"
)


def _objective(recipe, stage: StageConfig, stages: Sequence[StageConfig] = ()) -> TrainingObjective:
    """What a stage of a recipe trains, on the meta device."""
    planned = PlannedStage(0, stage, steps=1, seed=0)
    return planned_objective(planned, planned_model(recipe.model, recipe.run, stages or recipe.stages))


@pytest.fixture(scope="module")
def seven():
    """The 7B recipe and what its first stage trains, on the meta device."""
    recipe = load_recipe(CONFIGS / "skyeyegpt_7b.yaml", ["model.language.pretrained=null", LLAMA_2_7B])
    return recipe, _objective(recipe, recipe.stages[0])


@pytest.fixture(scope="module")
def plans():
    """The plans that tests of this file have made, by what was asked for: they are only read."""
    return {}


@pytest.fixture
def small_plan(recipe, plans):
    """The plan of the tests' recipe, its own data at hand, on GPUs as small as the model.

    ``only`` names the one stage that a test is about: the other one would take as long.
    """

    def plan(*overrides, only=None, **options):
        asked = (overrides, only, *sorted(options.items()))
        if asked not in plans:
            hardware = Hardware(**{"gpus": 2, "memory": 1.0, "reserve": 0.1, **options})
            plans[asked] = make_plan(load_recipe(_of_stage(recipe, only), overrides), hardware)
        return plans[asked]

    return plan


def _of_stage(recipe, name: str | None) -> Path:
    """The tests' recipe with this stage alone, None: with all."""
    path = recipe()
    if name is None:
        return path
    return recipe(stages=[stage for stage in yaml.safe_load(path.read_text())["stages"] if stage["name"] == name])


def _row(stage: dict, strategy: str, checkpointing: bool = False) -> dict:
    return next(
        row for row in stage["strategies"] if (row["strategy"], row["checkpointing"]) == (strategy, checkpointing)
    )


def test_parameters_of_the_full_size(seven):
    """LoRA of rank 64 on q and v: 32 layers x 2 x 64 x (4,096 + 4,096). Projector: 4 x 1,408 x 4,096 + 4,096."""
    parts = planning._parameters(seven[1].model)
    assert parts["adapters"]["values"] == 32 * 2 * 64 * 8192 == 33_554_432
    assert parts["projector"]["values"] == 5632 * 4096 + 4096 + 2 * 1408  # and the norm before it
    assert parts["language"]["values"] == 6_738_415_616  # published: 6.74 B
    assert sum(p.numel() for p in seven[1].parameters() if p.requires_grad) == 33_554_432 + 23_072_768 == 56_627_200
    assert parts["language"]["bytes"] == 2 * 6_738_415_616 and parts["adapters"]["bytes"] == 4 * 33_554_432


def test_what_the_strategies_hold_at_full_size(seven):
    recipe, model = seven
    stage, values = recipe.stages[0], 56_627_200
    rotary = sum(b.numel() * b.element_size() for b in model.buffers())
    frozen = 2 * (986_975_872 + 6_738_415_616) + 4 * 2 * 1408
    single, ddp, zero1, zero2, zero3 = (
        held(model, name, 8, recipe.run, stage) for name in ("single", "ddp", "zero1", "zero2", "zero3")
    )
    assert single.weights == ddp.weights == zero2.weights == frozen + 4 * values + rotary
    assert (single.gradients, single.optimizer, single.buffers) == (4 * values, 8 * values, 0)
    assert ddp.buffers == 4 * values
    # float32 master and two moments of the partition; one bucket of all trained numbers in float32, sent in bfloat16
    assert zero1.optimizer == zero2.optimizer == 12 * values // 8
    assert (zero1.gradients, zero2.gradients) == (4 * values, 4 * values // 8)
    assert zero1.buffers == zero2.buffers == 4 * values
    assert zero3.weights < (frozen + 4 * values) / 8 + 20e6
    assert 2 * values + 2 * 0.99e9 < zero3.buffers < 2 * values + 2 * 1.01e9  # a bucket in bfloat16, 1e9 gathered


def test_gradients_that_are_not_of_linear_layers_need_a_bucket_more(seven):
    stage = StageConfig("all", [], steps=1, language="full")
    model = _objective(seven[0], stage, [stage])  # norms and embeddings are trained, too
    assert held(model, "zero2", 8, RunConfig(precision="bf16"), stage).buffers == 2 * 2 * 4 * 500_000_000
    assert held(model, "zero2", 8, RunConfig(precision="fp32"), stage).buffers == 2 * 4 * 500_000_000


@pytest.mark.parametrize(("gpus", "leaner"), [(4, False), (1, True)])
def test_where_ddp_is_leaner_it_is_said(small_plan, gpus, leaner):
    """Bytes for a number that is trained in full under autocast, on n GPUs. DDP: 20 (gradients, moments, buckets and
    AdamW's copy). ZeRO-2: 24 / n, and 8 for a bucket of each of the two types that gradients are sent in."""
    warnings = small_plan("run.strategy=zero2", "run.precision=bf16", gpus=gpus, only="pretrain")["warnings"]
    assert any("stage pretrain: zero2 needs" in w and "ddp is the leaner" in w for w in warnings) == leaner


def test_operations_of_parts_that_are_trained_in_full(recipe):
    """2 a weight and token forward, 2 for what came in, 2 more for a trained weight; the tower thrice when trained."""
    loaded = load_recipe(recipe())
    group = GroupSequence(("a",), [1, *[-1] * 4], [Branch([5, 6, 7], [-100, 6, 7], None)])
    full, lora = (StepFlops(_objective(loaded, stage)) for stage in loaded.stages)
    assert full.image.total == 3 * lora.image.total == 3 * lora.image.forward
    weights, adapters = 4 * 16 * 16 + 3 * 16 * 24, 2 * (2 * 16 + 2 * 16)  # of a layer, of which there are two
    read = 2 * 16 * 16 + 3 * 16 * 24  # of the last one at targets alone: queries, output, MLP
    assert full.token == (2 * (2 * weights - read), 4 * (2 * weights - read)) and full.target == (2 * read, 4 * read)
    assert lora.target == (2 * (read + adapters / 2), 2 * read + 4 * adapters / 2)
    assert lora.token == (2 * (2 * weights - read + 1.5 * adapters), 2 * (2 * weights - read) + 4 * 1.5 * adapters)
    assert full.head == (2 * 700 * 16, 4 * 700 * 16) and lora.head == (2 * 700 * 16, 2 * 700 * 16)
    assert full.shared([group]) > lora.shared([group])
    cached = StepFlops(_objective(loaded, loaded.stages[1]), cached=True)
    assert lora.shared([group]) - cached.shared([group]) == lora.image.total


def test_a_plan_adds_up(small_plan):
    plan = small_plan()
    assert plan["data"].startswith("the recipe's own sources")
    assert [stage["stage"] for stage in plan["stages"]] == ["pretrain", "single_task"]
    for stage in plan["stages"]:
        assert len(stage["strategies"]) == 10
        assert stage["tokens"] == stage["tokens_per_step"] * 4 and stage["targets_per_step"] > 0
        assert 4 <= stage["images_per_step"] <= 8 and stage["samples_per_step"] <= 12  # sequences have several images
        for row in stage["strategies"]:
            parts = "weights gradients optimizer buffers activations logits working update".split()
            assert row["total"] == sum(row[part] for part in parts)
            assert all(row[part] >= 0 for part in parts)
    # operations / (GPUs x peak x share): one GPU, because the recipe's strategy is single
    stage = plan["stages"][0]
    assert stage["hours"] == pytest.approx(stage["flops_per_step"] * 4 / (312e12 * 0.4) / 3600)
    assert small_plan("run.strategy=ddp", only="pretrain")["stages"][0]["hours"] == pytest.approx(stage["hours"] / 2)


def test_a_limit_of_tokens_is_what_is_planned(small_plan):
    free, limited = small_plan(), small_plan("run.tokens_per_pack=128", only="single_task")
    assert limited["stages"][0]["packs"]["1"]["tokens"] == 128 < free["stages"][1]["packs"]["1"]["tokens"]
    assert any("tokens_per_pack is not set" in warning for warning in free["warnings"])
    assert not any("tokens_per_pack is not set" in warning for warning in limited["warnings"])


def test_the_largest_pack_fits_and_twice_of_it_does_not(small_plan):
    only = {"only": "single_task", "memory": 0.2}
    row = _row(small_plan(**only)["stages"][0], "single")
    largest = row["largest_pack"]["tokens"]
    assert 1024 < largest < 65536
    within = small_plan(f"run.tokens_per_pack={largest}", **only)
    beyond = small_plan(f"run.tokens_per_pack={2 * largest}", **only)
    assert _row(within["stages"][0], "single")["fits"]
    assert not _row(beyond["stages"][0], "single")["fits"]
    sentence = next(warning for warning in beyond["warnings"] if "single_task" in warning)
    assert "set run.tokens_per_pack=" in sentence


def test_what_does_not_fit_anywhere_is_said_with_what_to_change(small_plan):
    plan = small_plan(memory=0.1001)
    assert all(row["largest_pack"] is None for row in plan["stages"][0]["strategies"])
    assert any("nothing fits" in warning and "more or larger GPUs" in warning for warning in plan["warnings"])


def test_frozen_float32_weights_under_autocast_are_told_of(small_plan):
    frozen, only = ["run.precision=bf16", "stages.0.vision=frozen", "stages.0.language=lora"], {"only": "pretrain"}
    assert any("run.frozen=bf16" in warning for warning in small_plan(*frozen, **only)["warnings"])
    bf16 = small_plan(*frozen, "run.frozen=bf16", **only)
    assert not any("run.frozen=bf16" in warning for warning in bf16["warnings"])


def test_without_data_made_groups_stand_in_and_are_named(small_plan):
    plan = small_plan("sources.world.path=nowhere", only="pretrain")
    assert "not this recipe's data: there is no nowhere" in plan["data"]
    # 4 visits a step of at most 3 questions
    assert plan["stages"][0]["images_per_step"] == 4 and plan["stages"][0]["samples_per_step"] <= 12


def test_epochs_become_steps(small_plan):
    two = small_plan("stages.0.steps=null", "stages.0.epochs=2", only="pretrain")
    assert two["stages"][0]["steps"] == 7  # 13 groups, 4 a step
    without = small_plan("stages.0.steps=null", "stages.0.epochs=1", "sources.world.path=nowhere", only="pretrain")
    assert without["stages"][0]["steps"] > 10_000  # the images of SkyEye-968k


def test_names_on_the_hub_are_planned_without_a_network(monkeypatch):
    """Every language model that a recipe names; of any other it is said at once what is missing."""
    monkeypatch.setattr(build, "hub_is_reachable", lambda: False)
    monkeypatch.setattr(build, "local_path", lambda name: None)
    monkeypatch.setattr(build.AutoConfig, "from_pretrained", lambda *_, **__: pytest.fail("the hub was asked"))
    models = {path.stem: load_model(path) for path in sorted(CONFIGS.rglob("*.yaml"))}
    named = {n: model for n, model in models.items() if not (model.language.pretrained or "runs/").startswith("runs/")}
    with torch.device("meta"):
        sizes = {name: build.model_config(model).text_config.hidden_size for name, model in named.items()}
    assert set(sizes.values()) == {4096, 576}  # the 7B and 8B models, and SmolLM2-135M
    assert {"geochat", "popeye", "lhrs_bot_nova", "skyeyegpt_released"} <= sizes.keys()
    vicuna = load_recipe(CONFIGS / "models" / "geochat.yaml")
    parts = planning._parameters(planned_model(vicuna.model, vicuna.run, vicuna.stages))
    assert parts["language"]["values"] == 6_738_415_616
    other = load_recipe(CONFIGS / "models" / "geochat.yaml", ["model.language.pretrained=nobody/knows-7b"])
    with pytest.raises(SkyEyeError, match="nobody/knows-7b is not on this machine, and the hub cannot be reached"):
        make_plan(other)


def test_nothing_is_allocated(seven):
    assert all(p.is_meta for p in seven[1].parameters())


def test_the_command_prints_tables_and_writes_json(recipe, tmp_path, capsys):
    file = tmp_path / "out" / "plan.json"
    assert (
        main(["plan", str(recipe()), "--gpus", "2", "--gpu-memory", "1", "--reserve", "0.1", "--json", str(file)]) == 0
    )
    said = capsys.readouterr().out
    for word in ("adapters", "zero3", "pretrain", "GiB a GPU", "hours", "single *"):
        assert word in said
    assert json.loads(file.read_text())["stages"][0]["strategies"][0]["strategy"] == "single"


@pytest.mark.parametrize("wrong", [{"gpus": 0}, {"mfu": 0.0}, {"mfu": 1.5}, {"memory": 2.0, "reserve": 2.0}])
def test_impossible_questions_are_refused(small_plan, wrong):
    with pytest.raises(SkyEyeError, match="1 GPU or more"):
        small_plan(**wrong)


def test_a_step_that_does_not_divide_among_the_gpus_is_refused(small_plan):
    with pytest.raises(SkyEyeError, match="raise images_per_step"):
        small_plan(gpus=64)


def test_torch_stays_as_it_was(recipe):
    make_plan(load_recipe(_of_stage(recipe, "pretrain")), Hardware(gpus=2, memory=1.0, reserve=0.1))
    assert torch.empty(1).device.type == "cpu" and type(torch.empty(1)) is torch.Tensor
